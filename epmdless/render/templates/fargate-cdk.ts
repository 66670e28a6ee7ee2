// @app@ on ECS Fargate: @replicas@ tasks, each with a node @alive@@TASK-ADDRESS, joined to one cluster.
// Rendered by epmdless @version@, for aws-cdk-lib 2. To do:
//   - push an image with the release and epmdless[aws] in it (README: "ECS Fargate")
@before@
//   - npm install aws-cdk-lib constructs; npm install --save-dev aws-cdk tsx typescript @types/node
//   - npx cdk deploy --app "npx tsx THIS-FILE" \
//       -c vpcId=vpc-… -c subnetIds=subnet-…,subnet-… -c image=…@more_context@
@after@
// The subnets need a way to ECR, Secrets Manager, CloudWatch Logs and Cloud Map: NAT, or the VPC endpoints
// ecr.api, ecr.dkr, s3, secretsmanager, logs, data-servicediscovery.
// Look:  dig SRV @app@.@zone@ (in the VPC), and the log group /epmdless/@app@
import { App, Duration, RemovalPolicy, Size, Stack, StackProps } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as ecs from "aws-cdk-lib/aws-ecs";
import * as iam from "aws-cdk-lib/aws-iam";
import * as logs from "aws-cdk-lib/aws-logs";
import * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import * as servicediscovery from "aws-cdk-lib/aws-servicediscovery";
import { Construct } from "constructs";

const EPMD_PORT = 4369;
const NODE_PORT = @port@;
@gateway_constants@

const EPMDLESS_CONFIG = `
@config@
`;

interface NodesProps extends StackProps {
  vpcId: string;
  subnetIds: string[];
  image: string;
  desiredCount: number;
  assignPublicIp: boolean;
  @gateway_property@
}

class Nodes extends Stack {
  constructor(scope: Construct, id: string, props: NodesProps) {
    super(scope, id, props);
    const vpc = ec2.Vpc.fromVpcAttributes(this, "Vpc", { vpcId: props.vpcId, availabilityZones: ["any"] });

    // EPMD's port and the node's: open to members of this group, and to nobody else.
    const nodesGroup = new ec2.SecurityGroup(this, "NodesGroup", { vpc, description: "@app@: BEAM nodes" });
    nodesGroup.addIngressRule(nodesGroup, ec2.Port.tcp(EPMD_PORT), "EPMD among the nodes");
    nodesGroup.addIngressRule(nodesGroup, ec2.Port.tcp(NODE_PORT), "Erlang distribution among the nodes");

    // The cookie of all nodes. Made by AWS, and seen by nobody.
    const cookie = new secretsmanager.Secret(this, "Cookie", {
      description: "@app@: the cookie of all nodes",
      generateSecretString: { passwordLength: 48, excludePunctuation: true },
    });
    const logGroup = new logs.LogGroup(this, "LogGroup", {
      logGroupName: "/epmdless/@app@",
      retention: logs.RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY, // one that is left of a failed attempt would be in the way of the next
    });
    // A node does not stop where its log cannot be taken; lines are lost then.
    const logging = { logGroup, mode: ecs.AwsLogDriverMode.NON_BLOCKING, maxBufferSize: Size.mebibytes(10) };

    // What ECS needs to start a task: the image here; the cookie and the log are granted where they are used.
    const assumedBy = new iam.ServicePrincipal("ecs-tasks.amazonaws.com");
    const imagePolicy = [
      new iam.PolicyStatement({ actions: ["ecr:GetAuthorizationToken"], resources: ["*"] }),
      new iam.PolicyStatement({
        actions: ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        resources: [this.formatArn({ service: "ecr", resource: "repository", resourceName: "*" })],
      }),
    ];
    const executionRole = new iam.Role(this, "ExecutionRole", { assumedBy });
    for (const statement of imagePolicy) {
      executionRole.addToPolicy(statement);
    }

    // What epmdless asks: who is there. Add here what your application itself needs.
    const taskRole = new iam.Role(this, "TaskRole", { assumedBy });
    taskRole.addToPolicy(
      new iam.PolicyStatement({
        actions: ["servicediscovery:DiscoverInstances"],
        resources: ["*"],
        conditions: {
          StringEquals: {
            "servicediscovery:NamespaceName": "@zone@",
            "servicediscovery:ServiceName": "@app@",
          },
        },
      }),
    );

    const taskDefinition = new ecs.FargateTaskDefinition(this, "TaskDefinition", {
      family: "@app@",
      cpu: 512,
      memoryLimitMiB: 1024,
      executionRole,
      taskRole,
    });
    taskDefinition.addContainer("@app@", {
      image: ecs.ContainerImage.fromRegistry(props.image),
      // epmdless as PID 1: it starts the EPMD server, gives the release its name and its port, and reaps.
      entryPoint: ["epmdless", "exec", "--app", "@app@", "--port", `${NODE_PORT}`, "--", "bin/@release@", "start"],
      environment: { AWS_REGION: this.region, EPMDLESS_CONFIG_TOML: EPMDLESS_CONFIG },
      secrets: { RELEASE_COOKIE: ecs.Secret.fromSecretsManager(cookie) },
      portMappings: [{ containerPort: EPMD_PORT }, { containerPort: NODE_PORT }],
      // The node is registered, at its port.
      healthCheck: {
        command: ["CMD-SHELL", "epmdless-epmd -names | grep -q '^name @alive@ at port @port@'"],
        interval: Duration.seconds(10),
        timeout: Duration.seconds(5),
        retries: 3,
        startPeriod: Duration.seconds(60),
      },
      logging: ecs.LogDriver.awsLogs({ ...logging, streamPrefix: "@app@" }),
      stopTimeout: Duration.seconds(30),
    });

    const cluster = new ecs.Cluster(this, "Cluster", { vpc });
    const vpcSubnets = { subnets: props.subnetIds.map((each) => ec2.Subnet.fromSubnetId(this, each, each)) };

    // Who is there: ECS registers each task with its address and port, as SRV records of @app@.@zone@ as well.
    const namespace = new servicediscovery.PrivateDnsNamespace(this, "Namespace", { vpc, name: "@zone@" });
    new ecs.FargateService(this, "Service", {
      cluster,
      taskDefinition,
      desiredCount: props.desiredCount,
      minHealthyPercent: 100,
      maxHealthyPercent: 200,
      circuitBreaker: { rollback: true },
      securityGroups: [nodesGroup],
      vpcSubnets,
      assignPublicIp: props.assignPublicIp,
      cloudMapOptions: {
        cloudMapNamespace: namespace,
        name: "@app@",
        dnsRecordType: servicediscovery.DnsRecordType.SRV,
        dnsTtl: Duration.seconds(10),
        containerPort: NODE_PORT,
        failureThreshold: 1,
      },
    });
    @gateway@
  }
}

const app = new App();
new Nodes(app, "@app@", {
  vpcId: app.node.getContext("vpcId"),
  subnetIds: app.node.getContext("subnetIds").split(","),
  image: @image_from@,
  desiredCount: Number(app.node.tryGetContext("desiredCount") ?? @replicas@),
  assignPublicIp: `${app.node.tryGetContext("assignPublicIp")}` === "true", // where the way out is an internet gateway
  @gateway_argument@
});
app.synth();
