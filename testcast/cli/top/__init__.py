"""`testcast top`: a live view of edges, agents and runs, made of their pages of metrics.

`scrapes.py` computes with two pages, `overview.py` says what they mean; both are pure. `source.py` fetches pages,
`tables.py` shows an overview as text, `app.py` keeps showing it, `command.py` is the command.
"""
