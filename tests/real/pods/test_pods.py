"""Pods as the operator renders them, run for real: their rights, their limits, their exit codes."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.podman import Podman

Render = Callable[..., dict[str, Any]]
# A login of nobody, in two files.
KEY = "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n"
SECRETS = {
    "melanoma-store": {"credentials": KEY},
    "melanoma-mlflow": {"credentials": "[mlflow]\n"},
}

RIGHTS = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
open_to = []
for base, _, _ in os.walk("/"):
    if os.access(base, os.W_OK) and not base.startswith(("/proc", "/sys", "/dev/pts")):
        open_to.append(base)
def full(folder):
    try:
        with open(folder + "/filled", "wb") as file:
            for _ in range(1100): file.write(bytes(1 << 20))
    except OSError as error:
        return error.strerror
    finally:
        os.remove(folder + "/filled")
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "groups": os.getgroups(),
    "capabilities": [status[each].strip() for each in ("CapPrm", "CapEff", "CapBnd")],
    "no new privileges": status["NoNewPrivs"].strip(),
    "writes to": open_to,
    "secrets": {each: oct(os.stat("/run/secrets/" + each).st_mode)
                for each in os.listdir("/run/secrets")},
    "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "login": open(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).read(),
}))
"""
GREEDY = "held = [bytearray(b'x' * (1 << 20)) for _ in range(4000)]; print(len(held))"


def test_a_pod_has_the_rights_and_files_of_its_manifest_and_no_more(
    podman: Podman, pod: Render
) -> None:
    ended = podman.run(pod("split", code=RIGHTS.strip()), SECRETS)
    assert ended.code == 0, ended.lines
    found = json.loads(ended.lines[-1])

    assert found["user"] == [65532, 65532]
    assert set(found["groups"]) <= {65532}
    assert set(found["capabilities"]) == {"0000000000000000"}
    assert found["no new privileges"] == "1"
    assert set(found["writes to"]) == {"/tmp", "/dev/shm", "/dev/mqueue"}
    assert found["secrets"] == {"aws-credentials": "0o100444"}
    assert found["token"] is False
    assert found["login"] == KEY


def test_limits_are_those_of_the_row_and_more_memory_ends_the_pod(
    podman: Podman, pod: Render
) -> None:
    ended = podman.run(pod("split", code=GREEDY), SECRETS)
    host = ended.facts["HostConfig"]

    assert host["Memory"] == 2048 << 20
    assert host["CpuQuota"] / host["CpuPeriod"] == 2
    assert host["ReadonlyRootfs"] is True
    assert ended.code == 137  # ended by the kernel
    assert podman.run(pod("split", code=GREEDY.replace("4000", "1500")), SECRETS).code == 0


def test_bad_input_is_exit_code_64_and_the_last_line_says_what_to_do(
    podman: Podman, pod: Render
) -> None:
    """A step as it is, whose store is wrong."""
    ended = podman.run(pod("ingest", "--run", "s3://Not A Bucket/x/runs/a"), SECRETS)

    assert ended.code == 64, ended.lines
    assert ended.lines[-1].strip().startswith("Do:")
