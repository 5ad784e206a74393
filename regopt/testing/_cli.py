"""``python -m regopt.testing pairs`` prints the outcome of every optimizer with every way to apply a penalty.

``python -m regopt.testing pairs adam`` prints the lines of the optimizers with "adam" in their names.
"""

from collections.abc import Sequence

from regopt.testing._pairs import HOW, candidates, outcome_lines, outcomes


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit status is 1 if a pair solves another problem, neither refused nor documented."""
    if not arguments or arguments[0] != "pairs" or len(arguments) > 2:
        print("usage: python -m regopt.testing pairs [part of an optimizer's name]")
        return 2
    wrong = 0
    for candidate in candidates():
        if len(arguments) == 2 and arguments[1] not in candidate.name:
            continue
        for how in HOW:
            found = outcomes(candidate, how)
            wrong += sum(outcome.is_wrong for outcome in found)
            print(outcome_lines(found), flush=True)
    print(f"{wrong} wrong")
    return 1 if wrong else 0
