"""All assets: events that one DAG reports and that start another DAG."""

from airflow.sdk import Asset

IMAGES_DELIVERED = Asset("images_delivered")
CHALLENGER_REGISTERED = Asset("challenger_registered")
