"""The program for the CDK: its types fit, and the templates that it makes say what CloudFormation's say."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from epmdless.config import decode
from tests.render.forms import FORMS, SHOP, documents, find, variables
from tests.support import node_packages
from tests.support.process import Program, run
from tests.support.tools import clean_env

pytestmark = pytest.mark.interop

CDK = ["fargate-cdk", "fargate-cdk --relay"]

TYPESCRIPT = {
    "compilerOptions": {
        "target": "es2022",
        "module": "commonjs",
        "moduleResolution": "bundler",
        "strict": True,
        "noUnusedLocals": True,
        "skipLibCheck": True,
        "types": ["node"],
        "outDir": "out",
    },
    "include": ["*.ts"],
}

CONTEXT = {
    "vpcId": "vpc-0123456789abcdef0",
    "subnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "gatewayTls": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-gateway-tls-AbCdEf",
}

BROKEN = 'import { App } from "aws-cdk-lib";\nnew App().synthesize(1);\n'
"""Types are checked indeed: against the library, and this fails."""


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The template of each form, as the CDK makes it."""
    folder = tmp_path_factory.mktemp("cdk")
    (folder / "node_modules").symlink_to(node_packages.modules())
    (folder / "tsconfig.json").write_text(json.dumps(TYPESCRIPT))
    (folder / "broken.ts").write_text(BROKEN)
    for number, name in enumerate(CDK):
        (folder / f"stack{number}.ts").write_text(FORMS[name](SHOP))
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    checked = run([node_packages.node(), compiler, "--project", folder], env=clean_env(), within=60)
    faults = [line for line in checked.stdout.splitlines() if not line.startswith(" ")]
    assert len(faults) == 1, checked.stdout
    assert "broken.ts(2,11): error TS2339: Property 'synthesize' does not exist" in faults[0]
    running = [_synthesize(folder, number) for number in range(len(CDK))]
    for program in running:
        with program:
            assert program.wait(60) == 0, program.report()
    return {name: folder / str(number) / "shop.template.json" for number, name in enumerate(CDK)}


def _synthesize(folder: Path, number: int) -> Program:
    script = folder / "out" / f"stack{number}.js"
    env = clean_env(CDK_OUTDIR=str(folder / str(number)), CDK_CONTEXT_JSON=json.dumps(CONTEXT))
    return Program([node_packages.node(), script], env=env, cwd=folder)


def test_the_templates_have_no_fault(templates: dict[str, Path]) -> None:
    linter = Path(sys.executable).parent / "cfn-lint"
    checked = run([linter, *templates.values()], env=clean_env(), within=60)
    assert (checked.status, checked.stdout) == (0, "")


@pytest.mark.parametrize("name", CDK)
def test_both_ways_make_the_same_stack(name: str, templates: dict[str, Path]) -> None:
    ours = json.loads(templates[name].read_text())
    (theirs,) = documents(FORMS[name.replace("cdk", "cloudformation")](SHOP))
    assert _open_ports(ours) == _open_ports(theirs)
    assert _services_of_cloud_map(ours) == _services_of_cloud_map(theirs)
    assert _actions(ours) - {"secretsmanager:DescribeSecret"} == _actions(theirs)
    assert _containers(ours) == _containers(theirs)
    assert len(_of_type(ours, "AWS::ECS::Service")) == len(_of_type(theirs, "AWS::ECS::Service"))
    assert _services_of_ecs(ours) == _services_of_ecs(theirs)
    for template in (ours, theirs):
        (log,) = (each for each in template["Resources"].values() if each["Type"] == "AWS::Logs::LogGroup")
        assert log.get("DeletionPolicy", "Delete") == "Delete"
    assert {key for each in find(ours, "StringEquals") for key in each} == {
        key for each in find(theirs, "StringEquals") for key in each
    }


def _of_type(template: Any, kind: str) -> list[Any]:
    return [each["Properties"] for each in template["Resources"].values() if each["Type"] == kind]


def _open_ports(template: Any) -> list[tuple[Any, ...]]:
    """(from, to, whose, where) of every rule; whose is a network, or None for a group."""
    inline = [
        rule
        for each in _of_type(template, "AWS::EC2::SecurityGroup")
        for rule in each.get("SecurityGroupIngress", ())
    ]
    rules = [*_of_type(template, "AWS::EC2::SecurityGroupIngress"), *inline]
    return sorted(
        (rule["FromPort"], rule["ToPort"], rule.get("CidrIp") or rule.get("CidrIpv6") or "") for rule in rules
    )


def _services_of_cloud_map(template: Any) -> list[tuple[Any, ...]]:
    return sorted(
        (each["Name"], [(record["Type"], record["TTL"]) for record in each["DnsConfig"]["DnsRecords"]])
        for each in _of_type(template, "AWS::ServiceDiscovery::Service")
    )


def _services_of_ecs(template: Any) -> list[dict[str, Any]]:
    found = [each["DeploymentConfiguration"] for each in _of_type(template, "AWS::ECS::Service")]
    keys = ("MinimumHealthyPercent", "MaximumPercent", "DeploymentCircuitBreaker")
    return [{key: each[key] for key in keys} for each in found]


def _actions(template: Any) -> set[str]:
    kinds = ("AWS::IAM::Role", "AWS::IAM::Policy")
    found = [action for kind in kinds for each in _of_type(template, kind) for action in find(each, "Action")]
    return {name for each in found for name in (each if isinstance(each, list) else [each])}


def _containers(template: Any) -> dict[str, Any]:
    definitions = _of_type(template, "AWS::ECS::TaskDefinition")
    return {
        each["Name"]: {
            "entry": [word.strip() for word in each["EntryPoint"]],
            "config": decode(
                dict(variables({"Environment": each["Environment"]}))["EPMDLESS_CONFIG_TOML"], "test"
            ),
            "secrets": sorted(secret["Name"] for secret in each["Secrets"]),
            "ports": sorted(port["ContainerPort"] for port in each["PortMappings"]),
            "health": each["HealthCheck"],
            "stop": each["StopTimeout"],
            "log": each["LogConfiguration"]["Options"]["mode"],
            "size": (definition["Cpu"], definition["Memory"], definition["NetworkMode"]),
        }
        for definition in definitions
        for each in definition["ContainerDefinitions"]
    }
