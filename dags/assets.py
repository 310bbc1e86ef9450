"""Every asset: what one DAG says has happened, and another starts on."""

from airflow.sdk import Asset

IMAGES_DELIVERED = Asset("images_delivered")
CHALLENGER_REGISTERED = Asset("challenger_registered")
