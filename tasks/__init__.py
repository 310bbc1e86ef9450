"""Safe retraining of a skin-lesion classifier: a package for each stage, a file for each step.

    raw/ ── ingest ── validate ── split ─┬─ check_balance ─┐
                                         ├───────────────── oversample ─┐
                                         └───────────────────────────── train ─┐
                                                                               │
                                                 register ── gate ── evaluate ─┘

A step is a function from records to a record. It reads the records it needs, writes its
artifacts, and commits its own ``record.json`` last: a step without a record did not happen.
``pipeline.py`` holds the table of the steps; ``python -m tasks --help`` runs them.

    intake        deliver, ingest: files, tables, pixels, drawn lesions
    validation    validate: the laws of true data
    splitting     split: sides, groups, looks at the test part
    balancing     check_balance, oversample
    training      train: recipes, networks, the loop
    evaluation    evaluate, gate: figures, the champion, policies and their rules
    release       register, promote: evidence, its verification, the model card
    registry      MLflow
    monitoring    score: a model on any labelled folder
    reporting     report: pages, charts
    engine        how a step is executed; storage; the ledger
    records       what each step promises to the next
    text          how the words of others are shown

A package imports only what lies below it (``tests/laws``).

This package never imports Airflow, and importing it imports nothing.
"""
