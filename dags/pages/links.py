"""Addresses of the pages of a run, as `dags.pages.app` serves them."""

from urllib.parse import quote, urlsplit

# Below it lie the pages, in Airflow's own web server.
PREFIX = "/melanoma"
# The DAG whose runs have pages. Who may read its runs may read their pages.
RETRAINING = "melanoma_retraining"

# What a run has, by the path inside its folder of the store. An empty path is the list of it all.
REPORT = "report.html"
QUARANTINE = "quarantine.html"
MODEL_CARD = "evidence/model_card.html"
EVIDENCE = "evidence/"
# These two are in no folder: they lead to the first page of the Data Docs, and pack the bundle.
DATA_DOCS = "data_docs"
PACKED_EVIDENCE = "evidence.zip"
# In no folder either: what people answered about the model.
ANSWERS = "answers"


def link(run_id: str, file: str = "") -> str:
    """The address of a page of a run, for a browser that shows Airflow.

    It holds no host, because a person may reach Airflow under another name than its own.

    Args:
        run_id: Airflow's id of a run of RETRAINING, or the name of a run in the store of
            MELANOMA_STORE.
        file: One of the pages above, or the path of another file of the run; empty for the list of
            all.
    """
    return f"{base()}{PREFIX}/runs/{quote(run_id, safe='')}/{quote(file)}"


def base() -> str:
    """The path under which Airflow is reached, without a slash at its end; mostly empty."""
    from airflow.sdk.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
