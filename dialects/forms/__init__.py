"""The forms of attention: one file a form, found by `registry.registered_forms`."""
