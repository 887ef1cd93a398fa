// For tests/text/templates_reference.py: a line of {"source", "variables"} in, a line of {"text"} or
// {"error"} out. With "messages" instead of "variables" and the path of a model's folder as the argument: its
// tokens.
#include <iostream>
#include <string>

#include "cai/base/error.hpp"
#include "cai/io/json.hpp"
#include "cai/text/chat.hpp"
#include "cai/text/jinja.hpp"

namespace {

cai::Json answer_to(const cai::Json& question) {
  std::string text;
  for (const cai::TextPart& part : cai::JinjaTemplate(question["source"]).render(question["variables"]))
    text += part.text;
  return {{"text", text}};
}

cai::Json tokens_of(const std::string& model, const cai::Json& question) {
  std::vector<cai::Message> messages;
  for (const cai::Json& m : question["messages"])
    messages.push_back({m["role"], m["content"]});
  const cai::ChatTemplate chat = cai::load_chat(model, 1 << 30);
  return {{"tokens", chat.encode(messages, true)}, {"stops", chat.stops()}};
}

}  // namespace

int main(int argc, char** argv) {
  for (std::string line; std::getline(std::cin, line);) {
    cai::Json answer;
    try {
      const cai::Json question = cai::parse_json(line, "stdin");
      answer = argc > 1 ? tokens_of(argv[1], question) : answer_to(question);
    } catch (const cai::Error& e) {
      answer = {{"error", e.what()}};
    }
    std::cout << cai::to_line(answer) << std::endl;
  }
}
