"""`attnc explore`: a search over machines and recipes for the designs that no other beats in everything."""
