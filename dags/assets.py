"""All assets: events that one DAG reports and that start another DAG, or a program of the house."""

from airflow.sdk import Asset

IMAGES_DELIVERED = Asset("images_delivered")
CHALLENGER_REGISTERED = Asset("challenger_registered")
LABELS_WANTED = Asset("labels_wanted")
