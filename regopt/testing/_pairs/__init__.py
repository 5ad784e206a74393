"""Every optimizer of regopt, optax and optax.contrib with every way to apply a penalty, and what comes of each pair."""
