"""The console of `spillway local`: a page to look at, with a few buttons.

It is one more operator: it reads what the commands read and does what they do, over the same
addresses. An import arrow keeps it from the twin.
"""
