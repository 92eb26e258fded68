#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
"use strict";

const fs = require("fs");
const clients = { "http:": require("http"), "https:": require("https") };

const request = JSON.parse(fs.readFileSync(0, "utf8"));
const deadlineMs = Math.max(100, request.deadline_s * 1000 - 500);

function get(url) {
  return new Promise((resolve) => {
    const began = Date.now();
    const client = URL.canParse(url) && clients[new URL(url).protocol];
    if (!client) return resolve({ error: "not an http or https address" });
    const call = client.get(url, { timeout: deadlineMs }, (response) => {
      let bytes = 0;
      response.on("data", (chunk) => (bytes += chunk.length));
      response.on("error", (error) => resolve({ error: error.message }));
      response.on("end", () => resolve({ status: response.statusCode, took_ms: Date.now() - began, bytes }));
    });
    call.on("timeout", () => call.destroy(new Error("no answer in time")));
    call.on("error", (error) => resolve({ error: error.message }));
  });
}

async function main() {
  const answers = {};
  await Promise.all(
    request.data.urls.map(async (url) => {
      answers[url] = await get(url);
      console.log(JSON.stringify({ progress: url, data: answers[url] }));
    }),
  );
  const failed = Object.values(answers).filter((answer) => !(answer.status < 400)).length;
  console.log(JSON.stringify({ data: { answers, failed } }));
}

main();
