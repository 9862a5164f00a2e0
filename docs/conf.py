"""The documentation site: `make docs`. Pages are docs/*.md, plain Markdown; what the site adds is in docs/_ext."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

DOCS = Path(__file__).parent
GALLERY = DOCS.parent / "examples" / "gallery"
sys.path.insert(0, str(DOCS / "_ext"))

project = "coslice"
author = "The coslice developers"
copyright = "The coslice developers; Apache-2.0"
version = release = version_of("coslice")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
    *(["sphinx_gallery.gen_gallery"] if GALLERY.exists() else []),
    # ours, in docs/_ext; the order matters: what is made is there before it is read
    "pages",
    "reference_pages",
    "command_pages",
    "cross_references",
]
exclude_patterns = ["_build", "_ext", "_static"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

# Pages
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
highlight_language = "text"
smartquotes = False  # two hyphens begin an option, and f'' is a derivative
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# Reference
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
add_module_names = False
python_maximum_signature_line_length = 88
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore_regex = [("py:class", r"coslice\..*\._\w+")]  # a private type in a signature, which has no page

# Gallery: scripts plot_*.py run in `make docs`, and one that fails is an error.
# Of seconds or less: `make docs GALLERY=quick` runs these, and shows the others without what they print and draw.
QUICK = "plot_(3_read_and_write|1_geometry|2_projector|1_noises)"
sphinx_gallery_conf = {
    "examples_dirs": [str(GALLERY)],
    "filename_pattern": QUICK if os.environ.get("GALLERY") == "quick" else "plot_",
    "gallery_dirs": ["gallery"],
    "only_warn_on_example_error": False,
    "doc_module": ("coslice",),
    "reference_url": {"coslice": None},  # names in the code of a script lead to the reference
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 0,
    "reset_modules": ("matplotlib",),
    "copyfile_regex": r".*\.md$",
}

# Looks
html_theme = "furo"
html_title = "coslice"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "tango"
pygments_dark_style = "github-dark"
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {
        "color-brand-primary": "#0b6478",
        "color-brand-content": "#0b6478",
        "color-brand-visited": "#0b6478",
        "color-api-name": "#0b6478",
        "color-api-pre-name": "#5b6b73",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6fcfe0",
        "color-brand-content": "#6fcfe0",
        "color-brand-visited": "#6fcfe0",
        "color-api-name": "#6fcfe0",
        "color-api-pre-name": "#9fb0b8",
    },
}
