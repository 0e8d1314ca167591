"""The house rules as functions of source texts: `code` for what Python says, `pages` for what people read.

`tests/unit/test_house.py` applies each rule to this repository and to an example that breaks it.
"""
