"""Sphinx: the pages of this folder, and the Python API from its docstrings. `make docs` builds the site."""

import cutlayer

project = "cutlayer"
version = release = cutlayer.__version__
html_title = f"cutlayer {version}"
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_site"]
# Docstrings and pages name code in single backquotes.
default_role = "code"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
add_module_names = False
autodoc_typehints_format = "short"
# A type that is a long expression is shown by its name.
autodoc_type_aliases = {"Half": "Half", "Query": "Query", "Runtime": "Runtime", "AccessName": "AccessName"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
