"""Every optimizer of the catalogue as a function of a learning rate, for tests that no optimizer may fail."""

from regopt.testing import CATALOGUE

FIRST_ORDER = {
    row.label: (lambda rate, row=row: row.plain(learning_rate=rate)) for row in CATALOGUE if row.is_optimizer
}
# of those that find their own step the rate is not used, so it cannot be poisoned
SECOND_ORDER = {
    row.label: (lambda rate, row=row: row.make())
    for row in CATALOGUE
    if row.group == "second order" and not row.variant and not row.needs_residuals
}
