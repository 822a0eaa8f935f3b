// Made by Stockade: tells each tool call to the policy of the task before it happens.
import { execFile } from "node:child_process";

const unjudged = "Stockade could not judge this tool call.";

export const Stockade = async ({ directory }) => ({
  "tool.execute.before": async (input, output) => {
    const event = JSON.stringify({
      tool: input.tool,
      args: output.args,
      cwd: output.args?.workdir ?? directory,
    });
    await new Promise((allow, refuse) => {
      const answered = (failure, _, said) =>
        failure ? refuse(new Error(said.trim() || unjudged)) : allow();
      const client = execFile("CLIENT", ["opencode"], { timeout: PATIENCE }, answered);
      client.stdin.on("error", () => {});
      client.stdin.end(event);
    });
  },
});
