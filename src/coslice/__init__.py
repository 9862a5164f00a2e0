"""coslice: 3D medical images from diffusion priors trained on 2D slices, kept coherent by ISCS.

Names and modules are imported when they are first used: `import coslice.noise` needs torch and numpy and nothing else.
The list of what `coslice.` offers is the stub `__init__.pyi`.
"""

from typing import Any

import lazy_loader

from coslice.upper_floors import answering

# The door stands on no floor: here is said who answers what values of the lower floors ask of the upper ones.
answering(
    show="coslice.report.showing:show",
    html="coslice.report.html_forms:html_of",
    report="coslice.report.result_page:write_result_page",
)

_offered, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("coslice")
    if name == "Recipe":
        raise AttributeError(
            "coslice.Recipe is no more: a method is a value, as in "
            'coslice.methods.changed(coslice.find_method("dds"), {"data": {"iterations": 20}}).'
        )
    return _offered(name)
