"""Machine files (TOML) that come with attnc; `attnc.isa.machine` reads them."""
