"""SQL that is written as text, in whatever part of a statement: nobody here knows what it reads, and it is refused."""

from __future__ import annotations

import re
from typing import Any, Final, NoReturn

from agentdb.errors import BadInput

_REFUSED: Final = "SQL that is written as text is not run within a user's scope; use the database without it"

# A constant, a name, or several of them strung together: what the statements of this library spell out.
_HARMLESS: Final = re.compile(r"\*|(?:'[^'\\]*+'|[\w.]++)(?: \|\| (?:'[^'\\]*+'|[\w.]++))*+").fullmatch
_OPERATOR: Final = re.compile(r"[-+*/<>=~!@#%^&|?]{1,4}|match|glob|regexp|i?like", re.IGNORECASE).fullmatch
_COMMENT: Final = re.compile(r"--|/\*").search


class Wording:
    """A compiler that refuses text: mixed into a dialect's own."""

    def visit_textclause(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Refuse."""
        raise BadInput(_REFUSED)

    visit_textual_select = visit_textclause

    def visit_column(self, column: Any, *arguments: Any, **options: Any) -> Any:
        """Refuse a literal column that may be more than a constant or a name."""
        if column.is_literal and not _HARMLESS(column.name):
            raise BadInput(_REFUSED)
        this: Any = super()
        return this.visit_column(column, *arguments, **options)

    def visit_custom_op_binary(self, element: Any, operator: Any, **options: Any) -> Any:
        """Refuse an operator that may be more than one."""
        _check_operator(operator)
        this: Any = super()
        return this.visit_custom_op_binary(element, operator, **options)

    def visit_custom_op_unary_operator(self, element: Any, operator: Any, **options: Any) -> Any:
        """Refuse, likewise."""
        _check_operator(operator)
        this: Any = super()
        return this.visit_custom_op_unary_operator(element, operator, **options)

    def visit_custom_op_unary_modifier(self, element: Any, operator: Any, **options: Any) -> Any:
        """Refuse, likewise."""
        _check_operator(operator)
        this: Any = super()
        return this.visit_custom_op_unary_modifier(element, operator, **options)

    def visit_select(self, statement: Any, *arguments: Any, **options: Any) -> Any:
        """Refuse hints: they are text."""
        if statement._statement_hints or statement._hints:  # noqa: SLF001 (no public name)
            raise BadInput(_REFUSED)
        this: Any = super()
        return this.visit_select(statement, *arguments, **options)


def _check_operator(operator: Any) -> None:
    if not _OPERATOR(operator.opstring) or _COMMENT(operator.opstring):
        raise BadInput(_REFUSED)
