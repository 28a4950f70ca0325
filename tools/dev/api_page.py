"""Print the book's library reference: every public name, grouped by module, from its docstring."""

import importlib
import inspect

import enhancelib
from enhancelib.evaluate.metrics import METRICS

HEAD = """\
# Library reference

`import enhancelib as el` gives the names below; each is loaded when it is first needed. A wave is a
float32 array of shape `(channels, samples)` in [-1, 1]. Where two waves are compared, the estimate
comes first and the reference second.
"""


def public_table() -> dict[str, list[str]]:
    """Module -> its public names, as enhancelib/__init__.py lists them; None stands for all."""
    return {**enhancelib.PUBLIC, "provenance": None}


def metrics_entry() -> str:
    """The table of metrics, then what computes each."""
    rows = "\n".join(
        f"   * - ``{name}``\n     - {metric.title}\n     - {metric.unit}\n     - {metric.better}"
        for name, metric in METRICS.items()
    )
    functions = "\n".join(
        f".. autofunction:: {metric.function.__module__}.{metric.function.__name__}\n"
        for metric in METRICS.values()
    )
    return f"""\
.. py:data:: enhancelib.METRICS

   Every measure by the name it has in results tables.

.. list-table::
   :header-rows: 1

   * - name
     - measure
     - unit
     - better
{rows}

{functions}"""


def entry(name: str) -> str:
    """The autodoc directive that suits one public name."""
    if name == "METRICS":
        return metrics_entry()
    thing = getattr(enhancelib, name)
    if inspect.ismodule(thing):
        return f".. automodule:: {thing.__name__}\n   :members:\n"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f".. autoexception:: enhancelib.{name}\n   :members:\n"
    if inspect.isclass(thing):
        return f".. autoclass:: enhancelib.{name}\n   :members:\n"
    return f".. autofunction:: enhancelib.{name}\n"


def section(module: str, names: list[str] | None) -> str:
    """One module: what it is for, and its public names."""
    about = inspect.getdoc(importlib.import_module(f"enhancelib.{module}"))
    if names is None:
        directives = f".. automodule:: enhancelib.{module}\n   :members:\n"
        about = ""
    else:
        directives = "\n".join(entry(name) for name in names)
    title = module.rpartition(".")[2].replace("_", " ").capitalize()
    return f"## {title}\n\n```{{eval-rst}}\n{about}\n\n{directives}```\n"


if __name__ == "__main__":
    print(HEAD)
    print("\n".join(section(module, names) for module, names in public_table().items()))
