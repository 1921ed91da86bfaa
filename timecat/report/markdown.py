"""Tables in Markdown."""


def markdown_table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Its lines; the first column to the left, the others to the right."""
    rule = "|" + "|".join("---" if i == 0 else "--:" for i in range(len(header))) + "|"
    return ["| " + " | ".join(header) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)]
