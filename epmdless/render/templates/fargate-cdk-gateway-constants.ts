const GATEWAY_PORT = 4370;

const GATEWAY_CONFIG = `
@gateway_config@
`;

const GATEWAY_ENTRY = `
@entry@
`;
