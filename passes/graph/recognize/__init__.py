"""What exporters spell out in many operations, recognised and said in one: a pass a spelling."""
