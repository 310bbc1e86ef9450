"""`make demo`: the whole product on one machine.

    __main__.py   start, stop
    place.py      where it lives: ports, folders, what is to be learned from
    defaults.py   what runs take that nobody configures
    settings.py   Airflow's and MLflow's settings, each with its reason
    services.py   processes that outlive this one: start, find, end
    engine.py     the Docker engine, if steps run in containers
    airflow_api.py  the few requests to Airflow that a retraining needs
    follow.py     a run, watched until it ends
    outcome.py    what happened, as tables

All files lie under ``.demo/``, which only this user can enter. All services listen on 127.0.0.1
only, with one exception: with RUNNER=docker, MLflow listens on this machine's address in a network
of the Docker engine. Airflow has two users, whose passwords the demo makes and prints.
"""
