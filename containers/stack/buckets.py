"""Make the buckets that the environment names, each with the key of the user who owns it. Runs in
Airflow's image, at each start of the compose stack, and as a Job in a cluster; a bucket that exists
stays."""

import os
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

OWNERS = {
    "MELANOMA_STORE": "s3_store",
    "MLFLOW_ARTIFACTS": "s3_mlflow",
    "MELANOMA_BACKUPS": "s3_backup",  # in a cluster
}

for variable, secret in OWNERS.items():
    if variable not in os.environ:
        continue
    bucket = urlsplit(os.environ[variable]).netloc
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = f"/run/secrets/{secret}"
    settings = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 10})
    client = boto3.session.Session().client("s3", config=settings)
    if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    print(f"bucket {bucket}", flush=True)
