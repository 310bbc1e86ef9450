"""What people are shown of an own policy: before they approve it, and beside a model it judged.

A policy is text of whoever can write the store, so the pages show it as plain text.
"""

from tasks.registry.promotions import PolicyQuestion, Promotions
from tasks.text.lines import visible
from tasks.text.markdown import code, plain


def subject(question: PolicyQuestion) -> str:
    """The question in one line."""
    policy = question.policy
    return (
        f"Shall the policy {policy.in_words}, which is this installation's own, judge models that "
        f"go into use? It differs from {policy.nearest} in {len(policy.changes)} points."
    )


def page(question: PolicyQuestion) -> str:
    """The policy for the decision, in Markdown: what it changes, then all of it."""
    policy, asked = question.policy, question.asked
    people = "Two people must approve." if asked.approvals == 2 else "One person must approve."
    login = " The policy asks for people who have logged in." if asked.authenticated else ""
    alone = " This installation has switched the second person off." if asked.one_person else ""
    return "\n".join(
        [
            f"**Policy** {plain(policy.in_words)}, SHA-256 {code(policy.sha256)}. Put before "
            f"people by {plain(question.asked_by.in_words)}. {people}{login}{alone}",
            "",
            *_changes(policy.nearest, policy.changes),
            "",
            "A change that reads as harmless may let models pass that miss melanomas. Whoever "
            "approves answers for it.",
            "",
            "**The whole file**",
            "",
            *(f"    {visible(line)}" for line in policy.text.splitlines()),
        ]
    )


def of_own_policy(now: Promotions, sha256: str) -> tuple[str, ...]:
    """What people who decide about a model must know of its policy, in lines of Markdown; none for
    a policy that nobody had to approve here."""
    question = now.approved_policy(sha256)
    if question is None:
        return ()
    policy = question.policy
    return (
        f"**The policy {plain(policy.in_words)} is this installation's own**, SHA-256 "
        f"{code(policy.sha256)}: {plain(approved_by(now, sha256))}.",
        "",
        *_changes(policy.nearest, policy.changes),
        "",
    )


def approved_by(now: Promotions, sha256: str) -> str:
    """Who approved an own policy and why, in words; that it is released, for any other."""
    question = now.approved_policy(sha256)
    if question is None:
        return "released with this program"
    told = (
        f"{each.by.in_words} on {each.at[:10]} ({each.reason})"
        for each in now.answers(question.id)
        if each.option == "approve"
    )
    alone = ", the second person being switched off" if question.asked.one_person else ""
    return f"approved by {' and '.join(told)}{alone}"


def _changes(nearest: str, changes: tuple[str, ...]) -> list[str]:
    if not changes:
        return [f"It judges as the released policy {plain(nearest)} does."]
    head = f"Against the released policy {plain(nearest)}, which is nearest:"
    return [head, "", *(f"- {plain(each)}" for each in changes)]
