"""``python -m regopt.testing pairs`` prints what comes of every optimizer with every way to apply a penalty.

``python -m regopt.testing pairs adam`` prints the lines of the optimizers with "adam" in their names.
"""

import sys
from collections.abc import Sequence

from regopt.testing._pairs._cells import HOW, cells, table
from regopt.testing._pairs._optimizers import candidates


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit status is 1 if a pair solves another problem without a word."""
    if not arguments or arguments[0] != "pairs" or len(arguments) > 2:
        print("usage: python -m regopt.testing pairs [part of an optimizer's name]")
        return 2
    wrong = 0
    for candidate in candidates():
        if len(arguments) == 2 and arguments[1] not in candidate.name:
            continue
        for how in HOW:
            found = cells(candidate, how)
            wrong += sum(cell.is_wrong for cell in found)
            print(table(found), flush=True)
    print(f"{wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
