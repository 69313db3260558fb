// The least that an MCP server of the TypeScript SDK does over Streamable HTTP: one tool, which answers with what it
// was given, in plain JSON rather than an event stream, behind Node's own HTTP server and no framework.
//   node sdk_http.mjs PORT
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const sessions = new Map();

async function begin() {
    const server = new McpServer({ name: 'floor', version: '1' });
    server.registerTool('echo', { description: 'Gives the text back', inputSchema: { text: z.string() } },
        async ({ text }) => ({ content: [{ type: 'text', text }] }));
    const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        enableJsonResponse: true,
        onsessioninitialized: (id) => { sessions.set(id, transport); },
    });
    await server.connect(transport);
    return transport;
}

createServer(async (request, response) => {
    const known = sessions.get(request.headers['mcp-session-id']);
    await (known ?? await begin()).handleRequest(request, response);
}).listen(Number(process.argv[2]), '127.0.0.1');
