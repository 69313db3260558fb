// An MCP server that wants OAuth, and its authorization server, on one loopback port. It holds others to the rules: PKCE,
// exact redirects, codes and refresh tokens that are good once, tokens for this resource alone. `seen` is what it was asked.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const secret = () => randomBytes(24).toString('base64url');

export class Guarded {
    expiresIn = 3600;
    away = false;           // its token and revocation endpoints answer 503
    revokes = true;         // and says so
    seen = [];
    clients = new Map([['robot', { secret: 'robot-secret-robot-secret', redirects: [] }]]);
    codes = new Map();
    access = new Map();
    refresh = new Map();
    user = 'ada';           // who sits at the browser
    name = 'guarded';       // as it calls itself
    excuse = undefined;     // its token endpoint refuses, with these words

    static async start() {
        const guarded = new Guarded();
        guarded.server = createServer((request, response) => guarded.#take(request, response));
        await new Promise((done) => guarded.server.listen(0, '127.0.0.1', done));
        guarded.origin = `http://127.0.0.1:${guarded.server.address().port}`;
        guarded.url = `${guarded.origin}/mcp`;
        return guarded;
    }

    async stop() {
        this.server.closeAllConnections();
        await new Promise((done) => this.server.close(done));
    }

    /** Everything that was given ends. */
    revoke() {
        this.access.clear();
        this.refresh.clear();
    }

    /** Access tokens end, refresh tokens do not. */
    expire() { this.access.clear(); }

    count(path) { return this.seen.filter((one) => one === path).length; }

    async #take(request, response) {
        let body = '';
        for await (const chunk of request) body += chunk;
        const url = new URL(request.url, this.origin);
        this.seen.push(url.pathname);
        const say = (status, value, fields = {}) => {
            response.writeHead(status, { 'Content-Type': 'application/json', ...fields });
            response.end(value === undefined ? undefined : JSON.stringify(value));
        };
        switch (url.pathname) {
            case '/.well-known/oauth-protected-resource/mcp':
                return say(200, { resource: this.url, authorization_servers: [this.origin], scopes_supported: ['use', 'write'] });
            case '/.well-known/oauth-authorization-server':
                return say(200, {
                    issuer: this.origin, authorization_endpoint: `${this.origin}/authorize`, token_endpoint: `${this.origin}/token`,
                    registration_endpoint: `${this.origin}/register`, code_challenge_methods_supported: ['S256'],
                    ...this.revokes && { revocation_endpoint: `${this.origin}/revoke` },
                    response_types_supported: ['code'], authorization_response_iss_parameter_supported: true,
                    token_endpoint_auth_methods_supported: ['none', 'client_secret_basic'],
                });
            case '/register': {
                const id = secret();
                this.clients.set(id, { redirects: JSON.parse(body).redirect_uris });
                return say(201, { client_id: id, redirect_uris: JSON.parse(body).redirect_uris, token_endpoint_auth_method: 'none' });
            }
            case '/authorize': return this.#authorize(url.searchParams, response);
            case '/token': return this.#token(new URLSearchParams(body), request, say);
            case '/revoke': return this.#revoke(new URLSearchParams(body), say);
            case '/mcp': return this.#mcp(request, body, say);
            default: return say(404, {});
        }
    }

    #authorize(asked, response) {
        const client = this.clients.get(asked.get('client_id'));
        const good = client?.redirects.includes(asked.get('redirect_uri')) && asked.get('response_type') === 'code' &&
            asked.get('code_challenge_method') === 'S256' && asked.get('resource') === this.url;
        if (!good) {
            response.writeHead(400).end('no such client, or not so');
            return;
        }
        const code = secret();
        this.codes.set(code, { asked, user: this.user });
        const back = new URL(asked.get('redirect_uri'));
        for (const [name, value] of [['code', code], ['state', asked.get('state')], ['iss', this.origin]]) back.searchParams.set(name, value);
        response.writeHead(302, { Location: back.href }).end();
    }

    #token(form, request, say) {
        if (this.away) return say(503, {});
        const refuse = (error) => say(400, { error });
        if (this.excuse) return refuse(this.excuse);
        if (form.get('resource') !== this.url) return refuse('invalid_target');
        const give = (what) => {
            const [token, again] = [secret(), secret()];
            this.access.set(token, what);
            if (what.user) this.refresh.set(again, what);
            return say(200, { access_token: token, token_type: 'Bearer', expires_in: this.expiresIn, scope: what.scope,
                ...(what.user ? { refresh_token: again } : {}) });
        };
        switch (form.get('grant_type')) {
            case 'authorization_code': {
                const given = this.codes.get(form.get('code'));
                this.codes.delete(form.get('code'));
                const proof = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
                const good = given?.asked.get('code_challenge') === proof && given.asked.get('client_id') === form.get('client_id') &&
                    given.asked.get('redirect_uri') === form.get('redirect_uri');
                return good ? give({ user: given.user, scope: given.asked.get('scope') ?? '' }) : refuse('invalid_grant');
            }
            case 'refresh_token': {
                const given = this.refresh.get(form.get('refresh_token'));
                this.refresh.delete(form.get('refresh_token'));
                return given ? give(given) : refuse('invalid_grant');
            }
            case 'client_credentials': {
                const [id, word] = Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString().split(':');
                const good = this.clients.get(id)?.secret === word && word;
                return good ? give({ robot: id, scope: form.get('scope') ?? '' }) : refuse('invalid_client');
            }
            default: return refuse('unsupported_grant_type');
        }
    }

    /** RFC 7009; of a token that it does not know it says the same. */
    #revoke(form, say) {
        if (this.away) return say(503, {});
        if (!this.clients.has(form.get('client_id'))) return say(401, { error: 'invalid_client' });
        for (const given of [this.access, this.refresh]) given.delete(form.get('token'));
        return say(200);
    }

    #mcp(request, body, say) {
        const bearer = (request.headers.authorization ?? '').replace('Bearer ', '');
        const who = this.access.get(bearer);
        const challenge = `Bearer resource_metadata="${this.origin}/.well-known/oauth-protected-resource/mcp", scope="use"`;
        if (!who) return say(401, {}, { 'WWW-Authenticate': challenge });
        if (request.method === 'DELETE') return say(200, {});
        if (request.method !== 'POST') return say(405, {});
        const { id, method, params } = JSON.parse(body);
        if (id === undefined) return say(202);
        const answer = (result) => say(200, { jsonrpc: '2.0', id, result });
        const text = (words) => answer({ content: [{ type: 'text', text: words }] });
        const tool = (name) => ({ name, description: name, inputSchema: { type: 'object' } });
        switch (method) {
            case 'initialize':
                return answer({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: this.name, version: '1' } });
            case 'tools/list': return answer({ tools: [tool('whoami'), tool('leak'), tool('write')] });
            case 'tools/call':
                if (params.name === 'leak') return text(`you sent ${request.headers.authorization}`);
                if (params.name === 'write' && !who.scope.split(' ').includes('write')) {
                    return say(403, {}, { 'WWW-Authenticate': 'Bearer error="insufficient_scope", scope="write"' });
                }
                return text(`hello ${who.user ?? who.robot}`);
            default: return say(200, { jsonrpc: '2.0', id, error: { code: -32601, message: 'no such method' } });
        }
    }
}
