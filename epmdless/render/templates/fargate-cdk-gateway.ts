
// The gateway: the one port by which nodes of another subnet reach the tasks, over mutual TLS. Relays find it as
// @app@-gateway.@zone@. It passes on lookups and links to @alive@, and nothing else.
const gatewayGroup = new ec2.SecurityGroup(this, "GatewayGroup", { vpc, description: "@app@: gateway" });
for (const relays of [@peers@]) {
  gatewayGroup.addIngressRule(relays, ec2.Port.tcp(GATEWAY_PORT), "relays");
}
nodesGroup.addIngressRule(gatewayGroup, ec2.Port.tcp(EPMD_PORT), "EPMD from the gateway");
nodesGroup.addIngressRule(gatewayGroup, ec2.Port.tcp(NODE_PORT), "Erlang distribution from the gateway");

const gatewayTls = secretsmanager.Secret.fromSecretCompleteArn(this, "GatewayTls", props.gatewayTls);
const gatewayExecutionRole = new iam.Role(this, "GatewayExecutionRole", { assumedBy });
for (const statement of imagePolicy) {
  gatewayExecutionRole.addToPolicy(statement);
}
const gatewayDefinition = new ecs.FargateTaskDefinition(this, "GatewayTaskDefinition", {
  family: "@app@-gateway",
  cpu: 256,
  memoryLimitMiB: 512,
  executionRole: gatewayExecutionRole,
});
gatewayDefinition.addContainer("gateway", {
  image: ecs.ContainerImage.fromRegistry(props.image),
  entryPoint: ["sh", "-ec", GATEWAY_ENTRY],
  environment: { EPMDLESS_CONFIG_TOML: GATEWAY_CONFIG },
  secrets: {
    TLS_CRT: ecs.Secret.fromSecretsManager(gatewayTls, "crt"),
    TLS_KEY: ecs.Secret.fromSecretsManager(gatewayTls, "key"),
    TLS_CA: ecs.Secret.fromSecretsManager(gatewayTls, "ca"),
  },
  portMappings: [{ containerPort: GATEWAY_PORT }],
  healthCheck: {
    command: ["CMD", "epmdless", "links", "--json"],
    interval: Duration.seconds(10),
    timeout: Duration.seconds(5),
    retries: 3,
    startPeriod: Duration.seconds(30),
  },
  logging: ecs.LogDriver.awsLogs({ ...logging, streamPrefix: "gateway" }),
  stopTimeout: Duration.seconds(45), // more than gateway.drain
});
new ecs.FargateService(this, "GatewayService", {
  cluster,
  taskDefinition: gatewayDefinition,
  desiredCount: 2,
  minHealthyPercent: 100,
  maxHealthyPercent: 200,
  circuitBreaker: { rollback: true },
  securityGroups: [gatewayGroup],
  vpcSubnets,
  assignPublicIp: props.assignPublicIp,
  cloudMapOptions: {
    cloudMapNamespace: namespace,
    name: "@app@-gateway",
    dnsRecordType: servicediscovery.DnsRecordType.A,
    dnsTtl: Duration.seconds(10),
    failureThreshold: 1,
  },
});
