"""Paths of leaves, patterns of paths, and trees that are matched by name.

A number or a mask by layer is given as a prefix tree or as a mapping from path patterns. Both are matched here, by the
names of keys, attributes and positions, so that a plain dict describes a flax state, a FrozenDict or a dataclass too.
"""

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeGuard

import jax
from flax import nnx
from jax.tree_util import KeyPath

from regopt._core.messages import brief, cut, suggestion
from regopt._core.types import Tree

NOT_NAMED = object()  # stands for the number of a leaf that no pattern matches


def leaf_paths(tree: Tree) -> list[str]:
    """The path of each leaf, with the names joined by slashes; the content of a flax nnx variable adds no name.

    >>> leaf_paths({"layers": [{"kernel": 1.0}, {"kernel": 2.0}]})
    ['layers/0/kernel', 'layers/1/kernel']
    """
    return ["/".join(map(entry_name, path)) for path in leaf_keys(tree)]


def leaf_keys(tree: Tree) -> list[KeyPath]:
    """The path of each leaf as JAX's keys, without the key of the content of a flax nnx variable."""
    keys: list[KeyPath] = []
    for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: isinstance(x, nnx.Variable)):
        inner = jax.tree_util.tree_leaves_with_path(node)
        keys += [(*path, *below[1:]) if isinstance(node, nnx.Variable) else path for below, _ in inner]
    return keys


def entry_name(entry: object) -> str:
    """The key, attribute name or position that an entry of a path stands for."""
    return jax.tree_util.keystr((entry,), simple=True)


def missing_and_foreign(given: Tree, wanted: Tree) -> tuple[list[str], list[str]]:
    """The paths of the leaves that are wanted and not given, and of those that are given and not wanted."""
    has, wants = leaf_paths(given), leaf_paths(wanted)
    return [path for path in wants if path not in has], [path for path in has if path not in wants]


def other_structure(after: Tree, before: Tree) -> str:
    """The message for a tree whose structure an update changes, with the first leaf that is added or lost."""
    lost, added = missing_and_foreign(after, before)
    what = f"adds {added[0]!r}" if added else f"loses {lost[0]!r}" if lost else "changes the type of a node"
    return f"an update must keep the structure of states, gradients and parameters, as a loop does, but this one {what}"


def broadcast(prefix: Tree, tree: Tree, name: str, default: object = None) -> list[Tree]:
    """The entry of a prefix tree, or of a mapping from patterns, for each leaf of a tree.

    Where several patterns match a leaf, the one with the most characters outside of wildcards and slashes wins,
    whatever the order of the mapping: JAX sorts the keys of dicts.

    Args:
        prefix: a leaf; a prefix tree, whose nodes are matched by name; or a mapping from patterns to leaves, at the top
            or in the place of a subtree. Patterns are globs that match the whole path of a leaf below the mapping:
            ``*``, ``?`` and ``[0-3]`` stay within one name, ``**`` stands for any number of names.
        tree: the tree to match.
        name: name of the argument, for the message.
        default: what a leaf gets that no pattern matches; where it is None, such a leaf is refused.

    Returns:
        A list with one entry for each leaf of ``tree``.

    Raises:
        ValueError: the prefix does not fit, a pattern matches nothing, or two patterns have equal claims to a leaf.

    >>> broadcast({"**/bias": 0.0, "**": 0.1}, {"body": {"bias": 1, "kernel": 2}}, "strength")
    [0.0, 0.1]
    """
    if jax.tree.structure(prefix) == jax.tree.structure(tree):
        return jax.tree.leaves(prefix)
    return _below(prefix, tree, "", name, default)


def _below(prefix: Tree, node: Tree, path: str, name: str, default: object) -> list[Tree]:
    prefix, node = _content(prefix), _content(node)
    count = jax.tree.structure(node).num_leaves
    if jax.tree_util.all_leaves([prefix]):
        return [prefix] * count
    if prefix is None and not count:
        return []
    if prefix is not None and jax.tree_util.all_leaves([node]):
        raise ValueError(f"{name} must have one entry for {_quoted(path)}, got {brief(prefix)}")
    given, wanted = _children(prefix), _children(node)
    if _has_patterns(prefix, wanted):
        return match(prefix, node, name, default, path)
    for key in given:
        if key not in wanted:
            fix = f'{suggestion(key, wanted)}; or give path patterns such as {{"**/kernel": ...}}'
            raise ValueError(f"{name} has an entry {_joined(path, key)!r}, where there are no parameters; {fix}")
    found = []
    for key, child in wanted.items():
        inner = given.get(key)
        if inner is None and jax.tree.leaves(child):
            fix = '{"**/kernel": ..., "**": ...}'
            raise ValueError(f"{name} has no entry for {_joined(path, key)!r}: add it, or give patterns such as {fix}")
        found += _below(inner, child, _joined(path, key), name, default)
    return found


def match(patterns: Mapping[str, Tree], node: Tree, name: str, default: object = None, path: str = "") -> list[Tree]:
    """The entry of a mapping from patterns for each leaf of a tree, as ``broadcast`` has it; ``path`` leads there."""
    for pattern, entry in patterns.items():
        if not jax.tree_util.all_leaves([entry]):
            raise ValueError(f"{name} must have one entry for the pattern {pattern!r}, got {brief(entry)}")
    found, used = [], set()
    paths = leaf_paths(node)
    for leaf in paths:
        hits = sorted((p for p in patterns if _compiled(p).fullmatch(f"{leaf}/")), key=_letters)
        used.update(hits)
        if len(hits) > 1 and _letters(hits[-1]) == _letters(hits[-2]):
            first, second = sorted(hits[-2:])
            raise ValueError(
                f"{name} has two equally long patterns for {leaf!r}, {first!r} and {second!r}: lengthen one"
            )
        if not hits and default is None:
            raise ValueError(f'{name} has no pattern for {_joined(path, leaf)!r}: add {{"**": ...}} for all others')
        found.append(patterns[hits[-1]] if hits else default)
    for pattern in patterns if paths else ():
        if pattern not in used:
            raise ValueError(f"{name} has a pattern that matches nothing, {pattern!r}; {near(pattern, paths)}")
    return found


def matched(pattern: str, path: str) -> tuple[str, ...] | None:
    """The texts for which the wildcards of a pattern stand in a path; None where it does not match.

    >>> matched("block/*/attn/**", "block/3/attn/q/kernel"), matched("*/bias", "kernel")
    (('3', 'q/kernel'), None)
    """
    found = _captured(pattern).fullmatch(f"{path}/")
    return None if found is None else tuple(text.rstrip("/") for text in found.groups())


def near(pattern: str, paths: list[str]) -> str:
    """Words that end the message about a pattern that matches nothing."""
    inside = f"{pattern.rstrip('/')}/**"
    if any(_compiled(inside).fullmatch(f"{path}/") for path in paths):
        return f"for all that lies below it write {inside!r}"
    core = pattern.replace("*", "").strip("/")
    near = difflib.get_close_matches(core, paths, n=3, cutoff=0.3) or paths[:3]
    return cut(f"the nearest paths are {', '.join(near)}")


def _has_patterns(prefix: Tree, children: Mapping[str, Tree]) -> TypeGuard[Mapping[str, Tree]]:
    if not isinstance(prefix, Mapping) or not all(isinstance(key, str) for key in prefix):
        return False
    return any(re.search(r"[*?\[/]", key) for key in prefix) and not prefix.keys() <= children.keys()


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern, for a path with a slash after each name."""
    return re.compile("".join("(?:[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in pattern.split("/")))


@lru_cache(maxsize=4096)
def _captured(pattern: str) -> re.Pattern[str]:
    """Like ``_compiled``, with a group for each wildcard."""
    parts = ["((?:[^/]+/)*)" if part == "**" else f"{_part(part, '({})')}/" for part in pattern.split("/")]
    return re.compile("".join(parts))


def _part(glob: str, form: str = "{}") -> str:
    wild = {"*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*|\?|\[[^\]/]+\])", glob)
    return "".join(
        form.format(wild.get(piece, piece.replace("[!", "[^", 1))) if place % 2 else re.escape(piece)
        for place, piece in enumerate(pieces)
    )


@lru_cache(maxsize=4096)
def _letters(pattern: str) -> int:
    """The number of characters of a pattern outside of wildcards and slashes."""
    return len(re.sub(r"\*|\?|/|\[[^\]/]+\]", "", pattern))


def _children(node: Tree) -> dict[str, Tree]:
    entries = jax.tree_util.tree_leaves_with_path(node, is_leaf=lambda x: x is not node)
    return {entry_name(path[0]): child for path, child in entries if path}


def _content(node: Tree) -> Tree:
    """The content of a flax nnx variable; anything else as it is."""
    return next(iter(_children(node).values()), None) if isinstance(node, nnx.Variable) else node


def _joined(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


def _quoted(path: str) -> str:
    return repr(path) if path else "the parameters"
