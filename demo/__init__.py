"""`make demo`: the whole product on one machine.

    __main__.py   start, stop
    place.py      where it lives: ports, folders, what is to be learned from
    settings.py   Airflow's and MLflow's settings, each with its reason
    services.py   processes that outlive this one: start, find, end
    engine.py     the Docker engine, if steps run in containers
    airflow_api.py  the few requests to Airflow that a retraining needs
    follow.py     a run, watched until it ends
    outcome.py    what happened, as tables

Everything it makes lies under ``.demo/``, where nobody but this user enters, and all of it listens
on 127.0.0.1 only; but with RUNNER=docker MLflow listens on the address of this machine in a network
of the engine's own. Airflow has two users, whose passwords the demo makes and prints.
"""
