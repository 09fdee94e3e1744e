"""Pages for people: one HTML file each that opens from disk, with its styles, scripts and data inside.

`render` makes a page of a template; the modules beside it say what stands on which page. Templates are in `templates`,
styles and scripts in `static`; figures are drawn in the reader's browser by plotly.js, which the plotly package brings.
"""
