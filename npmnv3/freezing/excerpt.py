"""Copy from the package's own source what a piece of code needs, and nothing else."""

import ast
import builtins
import functools
import importlib.util
from typing import NamedTuple

from ..errors import UsageError

NUMPY = "import numpy as np"
KNOWN = {*dir(builtins), "__file__"}


class Definition(NamedTuple):
    """A function, class or constant at a module's top level."""

    line: int
    text: str  # with the comments right above it
    uses: frozenset  # names that it does not define itself


class Source(NamedTuple):
    """A module, taken apart."""

    title: str  # the first line of its docstring
    definitions: dict  # name -> Definition
    inside: dict  # name -> (module, name there): imported from this package
    outside: dict  # name -> import statement


def excerpt(code, home, instead=None):
    """The definitions that `code` needs to stand alone, as if it had been written in the module `home`.

    Parameters
    ----------
    code : str, Python source; what it does not define must be a builtin or known in `home`. What it defines takes the
        place of what `home`, or another module of its folder, defines by that name.
    home : str, dotted name of a module of this package
    instead : {(module, name): Python source that defines the name}, what takes the place of a module's own definition or
        import, such as a table of which only a part is needed; names that the module does not know are those of `home`

    Returns
    -------
    imports : str, import statements of what lies outside the package
    sections : list of str, the definitions as they stand in the package, a section a module, each after what it needs

    Raises
    ------
    LookupError
        A name that is needed means different things in two modules, or is a module of this package.
    UsageError
        The package is installed without its source.
    """
    own, instead = take_apart(home, code), instead or {}
    changed = {module: _changed(module, instead) for module, _ in instead}
    wanted = [(home, name) for definition in own.definitions.values() for name in definition.uses]
    imports, found = set(), {}
    while wanted:
        module, name = wanted.pop()
        source = changed.get(module) or _source(module)
        if _folder(module) == _folder(home) and name in own.definitions:
            continue
        if name in source.definitions:
            if name in own.definitions or found.get(name, module) != module:
                raise LookupError(f"{name} is defined in {module} and in {found.get(name, 'the code itself')}")
            if name not in found:
                found[name] = module
                wanted += [(module, used) for used in source.definitions[name].uses]
        elif name in source.inside:
            wanted.append(source.inside[name])
        elif name in source.outside:
            imports.add(source.outside[name])
        elif name not in KNOWN and module in changed:
            wanted.append((home, name))
        elif name not in KNOWN:
            raise LookupError(f"{name} is not known in {module}")
    sections = []
    for module in sorted(set(found.values()), key=lambda module: (_height(module), module)):
        source = changed.get(module) or _source(module)
        needed = sorted({source.definitions[name] for name in found if found[name] == module}, key=lambda d: d.line)
        space = "\n\n" if _is_line(needed[0].text) else "\n\n\n"
        sections.append(f"# {source.title}\n# ({module}){space}{joined([definition.text for definition in needed])}")
    standard = sorted(imports - {NUMPY}, key=lambda line: (line.startswith("from"), line))
    return "\n".join([*standard, "", NUMPY]), sections


def _folder(module):
    return module.rpartition(".")[0]


def _changed(module, instead):
    """The `Source` of a module with the definitions that take the place of its own, where these stood."""
    source = _source(module)
    texts = {name: text for (where, name), text in instead.items() if where == module}
    lines = {name: source.definitions[name].line if name in source.definitions else -1 for name in texts}
    definitions = {name: Definition(lines[name], text, _uses(ast.parse(text))) for name, text in texts.items()}
    inside = {name: origin for name, origin in source.inside.items() if name not in texts}
    return source._replace(definitions=source.definitions | definitions, inside=inside)


def joined(texts):
    """Statements with two empty lines round functions and classes, and none between others."""
    text = texts[0]
    for before, after in zip(texts, texts[1:]):
        text += ("\n" if _is_line(before) and _is_line(after) else "\n\n\n") + after
    return text


def _is_line(text):
    """Whether a statement is neither a function nor a class."""
    return not any(line.startswith(("def ", "class ", "@")) for line in text.split("\n"))


@functools.cache
def _source(module):
    text = importlib.util.find_spec(module).loader.get_source(module)
    if text is None:
        raise UsageError(
            f"{module} is here without its source, which a frozen file's code is copied from; install it too"
        )
    return take_apart(module, text)


def take_apart(module, text):
    """The `Source` of a module's text."""
    tree, lines, end = ast.parse(text), text.splitlines(), 0
    source = Source((ast.get_docstring(tree) or "").partition("\n")[0], {}, {}, {})
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), module.rpartition(".")[0])
            source.inside.update({alias.asname or alias.name: (origin, alias.name) for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            source.outside.update(
                {a.asname or a.name: f"from {node.module} import {ast.unparse(a)}" for a in node.names}
            )
        elif isinstance(node, ast.Import):
            source.outside.update(
                {a.asname or a.name.partition(".")[0]: f"import {ast.unparse(a)}" for a in node.names}
            )
        else:
            start = min(part.lineno for part in (node, *getattr(node, "decorator_list", ()))) - 1
            while start > end and lines[start - 1].startswith("#") and "fmt:" not in lines[start - 1]:
                start -= 1
            definition = Definition(start, "\n".join(lines[start : node.end_lineno]), _uses(node))
            source.definitions.update(dict.fromkeys(_names(node), definition))
        end = node.end_lineno
    return source


def _names(node):
    """What a statement defines; one that defines nothing goes by its line."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    return sorted(_variables(ast.walk(node), ast.Store)) or [node.lineno]


def _uses(node):
    """The names that a statement takes from its surroundings."""
    nodes = list(ast.walk(node))
    bound = _variables(nodes, ast.Store)
    for child in nodes:
        if isinstance(child, ast.arg):
            bound.add(child.arg)
        elif isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler)):
            bound.add(child.name)
        elif isinstance(child, (ast.Import, ast.ImportFrom)):
            bound.update(alias.asname or alias.name.partition(".")[0] for alias in child.names)
    return frozenset(_variables(nodes, ast.Load) - bound)


def _variables(nodes, context):
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


@functools.cache
def _height(module):
    """How many modules of the package lie one on another below this one."""
    return 1 + max((_height(origin) for origin, _ in _source(module).inside.values()), default=0)
