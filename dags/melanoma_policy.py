"""Put a policy of the installation's own before people."""

from airflow.sdk import DAG, Param

from dags.decision import DAYS, QUESTION, store_uri, two_answers
from dags.default_args import DEFAULT_ARGS, STARTS
from dags.places.choice import task_of
from dags.store import policies_for_form
from tasks.config import OWN_POLICY

ABOUT = """
Asks people whether a policy of this installation's own may judge models that go into use.

**It starts** by hand only, with the policy's file in the store.
**It proposes** (`propose`): the file is read and checked, and its whole text is written into the
ledger of promotions, with each difference from the released policy that is nearest.
**It waits** in `decide` and `decide_second` for the answers of two different people under *Required
Actions*, for seven days; no answer is a *Reject*. Each answer needs a reason. The ledger keeps it
with the person's login.
**Approved are the bytes** that people were shown. A file that is changed later is another policy:
raise its version, and ask again.
"""

with DAG(
    "melanoma_policy",
    description="People decide whether a policy of the installation's own may judge models.",
    doc_md=ABOUT,
    schedule=None,
    catchup=False,
    allowed_run_types=STARTS,
    default_args=DEFAULT_ARGS,
    params={
        "policy": Param(
            None,
            type=["null", "string"],
            pattern=f"^{OWN_POLICY}$",
            examples=policies_for_form(),
            title="Policy",
            description="Required. The policy's file in the store: policies/NAME.yaml.",
        )
    },
    user_defined_macros={"store": store_uri},
    tags=["melanoma", "promotion"],
):
    proposed = task_of(
        "propose",
        "--store",
        "{{ store() }}",
        "--policy",
        "{{ params.policy or '' }}",
        *QUESTION,
        *DAYS,
        doc_md="Checks the policy, and puts the question.",
        max_active_tis_per_dag=1,  # a container is found by its command and its store
    )
    decide, second = two_answers()
    proposed >> decide >> second
