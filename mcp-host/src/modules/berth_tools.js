// Calls the tools that this command was given: those in `tools` of run_command.
//
//     const { call } = require('berth_tools');
//     await call('everything__get-sum', { a: 1, b: 2 });
//
// Modules say import { call } from '/run/berth/tools/berth_tools.js'. The way to the tools is a descriptor that the command
// began with; programs that Node starts do not inherit it.
'use strict';
const { randomBytes } = require('node:crypto');
const { Socket } = require('node:net');

/** A tool failed or may not be called. `result` is what it answered, undefined when it did not. */
class ToolError extends Error {
    constructor(message, result) {
        super(message);
        this.name = 'ToolError';
        this.result = result;
    }
}

const over = 'the tools of this command have ended, as they do with run_command\'s answer';

function open() {
    const fd = Number(process.env.BERTH_TOOLS_FD ?? 'none');
    let socket;
    try {
        socket = new Socket({ fd, readable: true, writable: true });
    } catch {
        throw new ToolError('this process was given no tools: name them in `tools` of run_command, and call them from the program that it starts');
    }
    const mark = randomBytes(8).toString('hex');    // an answer may still come to a process that used the line before
    const waiting = new Map();
    let number = 0, ended = false, rest = '';
    socket.setEncoding('utf8');
    socket.unref();                                 // keeps nobody alive who does not wait for an answer
    socket.on('data', (text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop();
        for (const line of lines) {
            let answer;
            try {
                answer = JSON.parse(line);
            } catch {
                continue;
            }
            const one = waiting.get(answer.id);
            waiting.delete(answer.id);
            if (waiting.size === 0) socket.unref();
            one?.(answer);
        }
    });
    const end = () => {
        ended = true;
        for (const one of waiting.values()) one({ error: { message: over } });
        waiting.clear();
    };
    for (const event of ['error', 'end', 'close']) socket.on(event, end);
    return (method, params) => new Promise((done, failed) => {
        if (ended) return failed(new ToolError(over));
        const id = `${mark}-${++number}`;
        waiting.set(id, ({ result: found, error }) => (error ? failed(new ToolError(error.message)) : done(found)));
        socket.ref();
        socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, method, params })}\n`);
    });
}

let line;
const ask = async (method, params) => (line ??= open())(method, params);
const textOf = ({ content }) => content.filter(({ type }) => type === 'text').map(({ text }) => text).join('\n');

/** The definitions of the tools that may be called: name, description, inputSchema. */
async function tools() {
    return (await ask('tools/list', {})).tools;
}

/** All of a tool's answer: content blocks, structuredContent. */
async function result(tool, args = {}) {
    const answer = await ask('tools/call', { name: tool, arguments: args });
    if (answer.isError) throw new ToolError(textOf(answer), answer);
    return answer;
}

/** What a tool answers: its structured content where it has one, else its text. */
async function call(tool, args = {}) {
    const answer = await result(tool, args);
    return answer.structuredContent ?? textOf(answer);
}

exports.ToolError = ToolError;
exports.tools = tools;
exports.result = result;
exports.call = call;
