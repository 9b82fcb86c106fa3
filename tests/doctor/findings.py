"""What the tests of the doctor ask of its findings."""


def faults(findings):
    return [finding for finding in findings if finding.status == "fault"]


def only(findings, status="fault"):
    (finding,) = (finding for finding in findings if finding.status == status)
    assert finding.do, "a finding that says nothing about what to do"
    return str(finding)
