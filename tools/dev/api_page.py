"""Write the book's library reference: every public name by its docstring, a page for each room.

    python -m tools.dev.api_page FOLDER

``api.md`` lists all names with a sentence each; ``audio.md`` and its like describe them.
"""

import importlib
import inspect
import sys
from pathlib import Path

import enhancelib
from enhancelib.evaluate.metrics import METRICS

HEAD = """\
# Library reference

`import enhancelib as el` gives the names below; each is loaded when it is first needed. A wave is a
float32 array of shape `(channels, samples)` in [-1, 1]. Where two waves are compared, the estimate
comes first and the reference second.
"""
BASE = "base"
"""The page of what all rooms use."""
ABOUT_BASE = "Errors and warnings, and where a result comes from."


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


def rooms() -> dict[str, list[str]]:
    """Room -> its modules with public names; those outside of rooms come last."""
    found: dict[str, list[str]] = {}
    for module in public_table():
        package = hasattr(importlib.import_module(f"enhancelib.{module}"), "__path__")
        room = module.split(".")[0] if "." in module or package else BASE
        found.setdefault(room, []).append(module)
    return {room: found[room] for room in sorted(found, key=lambda room: (room == BASE, room))}


def about(room: str) -> str:
    """What a room is for, in the words of its package."""
    if room == BASE:
        return ABOUT_BASE
    return inspect.getdoc(importlib.import_module(f"enhancelib.{room}")).splitlines()[0]


def sentence(name: str) -> str:
    """What a public name is, in the first line of its docstring."""
    if name == "METRICS":
        return "Every measure by the name it has in results tables."
    return inspect.getdoc(getattr(enhancelib, name)).splitlines()[0]


def place(module: str, name: str) -> str:
    """The full name under which a public name is described."""
    thing = getattr(enhancelib, name)
    if inspect.ismodule(thing):
        return thing.__name__
    inside = f"{module}." if public_table()[module] is None else ""
    return f"enhancelib.{inside}{name}"


def overview() -> str:
    """The page with all names."""
    parts = [HEAD]
    for room, modules in rooms().items():
        named = sorted((name, module) for module in modules for name in enhancelib.PUBLIC[module])
        rows = "\n".join(
            f"   * - :py:obj:`~{place(module, name)}`\n     - {sentence(name)}"
            for name, module in named
        )
        parts.append(f"""\
## [{room.capitalize()}]({room}.md)

{about(room)}

```{{eval-rst}}
.. list-table::
   :widths: auto

{rows}
```
""")
    return "\n".join(parts)


def page(room: str, modules: list[str]) -> str:
    """One room: its modules and their public names."""
    parts = [f"# {room.capitalize()}\n\n{about(room)}\n"]
    return "\n".join(parts + [section(module, public_table()[module]) for module in modules])


def main(folder: Path) -> None:
    """Write all pages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "api.md").write_text(overview(), encoding="utf-8")
    for room, modules in rooms().items():
        (folder / f"{room}.md").write_text(page(room, modules), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
