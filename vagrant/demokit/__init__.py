"""The demo: a story told on two guests of the lab, and a test of every step of it.

    cli       arguments, and how it ends
    program   mysnap, built for the guests
    stage     the two hosts, and what is typed there
    screen    how it looks
    story     the steps
    ledger    which acknowledged writes a restored table must have
"""
