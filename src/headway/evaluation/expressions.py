"""Conditions on a table's columns, as ``length > 2000 and label == "negative"``: a few of Python's operators, nothing that runs.

An expression is parsed, never executed: of the tree only names of columns, constants, comparisons, ``in``, ``and``, ``or``,
``not`` and arithmetic are understood, and Arrow's own functions compute them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.errors import HeadwayError
from headway.params import nearest

COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: pc.divide,
}
GRAMMAR = "expected columns, numbers, strings, comparisons, in, and, or, not, + - * /"


def mask_of(expression: str, columns: Mapping[str, pa.ChunkedArray], where: str) -> np.ndarray:
    """The rows for which a condition holds, bool, shape (rows,); where a value is missing it does not.

    A column's name alone is a condition where the column is true or false. ``"word" in text`` asks for a part of the text,
    ``label in ["a", "b"]`` for one of the values. A column that is written as text is compared with a number as a number.

    Args:
        columns: by name, all of one length.
        where: the expression came from, as ``evaluation.slices.long``.

    Raises:
        HeadwayError: it is no such condition, or names a column that is not there.
    """
    try:
        result = _value(ast.parse(expression.strip(), mode="eval").body, columns)
        if not isinstance(result, pa.ChunkedArray) or not pa.types.is_boolean(result.type):
            raise _Unclear("it is no condition: expected something that is true or false by row")
    except _Unclear as error:
        raise HeadwayError(f"{where}: {expression!r}: {error}") from None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError, pa.ArrowException) as error:
        reason = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise HeadwayError(f"{where}: {expression!r}: {reason or type(error).__name__}; {GRAMMAR}") from None
    return np.asarray(pc.fill_null(result, False).to_numpy(), dtype=bool)


def require_columns(expression: str, known: Sequence[str], where: str) -> None:
    """See, before there is a table, that a condition can be read and names columns that there will be.

    Raises:
        HeadwayError: as :func:`mask_of`.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise HeadwayError(f"{where}: {expression!r}: {reason}; {GRAMMAR}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in known:
            raise HeadwayError(f"{where}: {expression!r}: {_no_column(node.id, known)}")


def _no_column(name: str, known: Sequence[str]) -> str:
    return f"no column {name!r}; {nearest(name, list(known))}"


class _Unclear(Exception):
    """What is wrong with an expression, in words."""


def _value(node: ast.expr, columns: Mapping[str, pa.ChunkedArray]) -> Any:
    """What a node stands for: a column, a list of constants as an array, or a scalar, all of Arrow's."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return pa.scalar(constant)
        case ast.Name(id=name):
            if name not in columns:
                raise _Unclear(_no_column(name, list(columns)))
            return columns[name]
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return pa.array([_constant(element) for element in elements])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return pc.invert(_value(operand, columns))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return pc.negate(_number(_value(operand, columns)))
        case ast.BoolOp(op=op, values=operands):
            join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            return reduce(join, [_value(operand, columns) for operand in operands])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            return ARITHMETIC[type(op)](_number(_value(left, columns)), _number(_value(right, columns)))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_value(one, columns) for one in (left, *comparators)]
            return reduce(pc.and_kleene, map(_compared, ops, sides, sides[1:]))
    raise _Unclear(f"{ast.unparse(node)!r} is not understood; {GRAMMAR}")


def _constant(node: ast.expr) -> Any:
    """An element of a list."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if not isinstance(value, str | int | float):
        raise _Unclear(f"{ast.unparse(node)!r} in a list is not understood; expected strings or numbers")
    return value


def _compared(op: ast.cmpop, left: Any, right: Any) -> Any:
    """One comparison of two values."""
    if isinstance(op, ast.In | ast.NotIn):
        if isinstance(right, pa.Array):
            found = pc.is_in(_number(left), _number(right)) if _is_number(right) else pc.is_in(left, right.cast(left.type))
        elif isinstance(left, pa.StringScalar):
            found = pc.match_substring(right, left.as_py())
        else:
            raise _Unclear('after in, expected a list, or before it a string, as "word" in text')
        return pc.invert(found) if isinstance(op, ast.NotIn) else found
    if type(op) not in COMPARISONS:
        raise _Unclear(f"{type(op).__name__} is not understood; {GRAMMAR}")
    if _is_number(left) or _is_number(right):
        return COMPARISONS[type(op)](_number(left), _number(right))
    return COMPARISONS[type(op)](left, right)


def _is_number(value: Any) -> bool:
    return bool(pa.types.is_integer(value.type) or pa.types.is_floating(value.type))


def _number(value: Any) -> Any:
    """A value as float64, of a column that is written as text too."""
    try:
        return value.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _Unclear(f"expected a number ({' '.join(str(error).split())})") from None
