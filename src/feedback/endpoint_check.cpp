// A look at an endpoint before a run begins: is it there, does it take the key, does it have the model?
#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/feedback/answer.hpp"
#include "cai/feedback/endpoint_address.hpp"
#include "cai/feedback/http.hpp"
#include "cai/feedback/request_form.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {
namespace {

constexpr double kPatience = 10;  // seconds; a server that is there lists its models at once

// Names of {"data": [{"id": ...}]}; none when the server lists nothing that can be read.
std::vector<std::string> models_of(const HttpAnswer& answer) {
  std::vector<std::string> names;
  if (answer.status != 200) return names;
  try {
    const Json list = parse_json(answer.body, "models");
    if (!list.is_object() || !list.contains("data") || !list["data"].is_array()) return names;
    for (const Json& one : list["data"])
      if (one.is_object() && one.contains("id") && one["id"].is_string() && names.size() < 1000)
        names.push_back(one["id"].get<std::string>());
  } catch (const Error&) {
  }
  return names;
}

class Look {
 public:
  Look(const EndpointConfig& config, const EndpointAddress& address)
      : config_(config), address_(address), key_(endpoint_key(config)) {}

  // Throws EnvironmentError in one line when the endpoint cannot be used.
  void take() const {
    const HttpAnswer listed = http_request(config_, address_, address_.models, key_, nullptr, kPatience);
    if (listed.problem.starts_with("Operation timed out"))
      return;  // it took the connection: it is there, and busy
    if (!listed.problem.empty()) throw_not_there(listed);
    if ((listed.status == 401 || listed.status == 403) && key_.empty()) throw_key(listed);
    if (listed.status == 404 && !address_.has_version) look_for_version();
    const std::vector<std::string> names = models_of(listed);
    const bool is_listed = std::find(names.begin(), names.end(), config_.model) != names.end();
    if (is_listed || (names.empty() && listed.status != 401 && listed.status != 403))
      return;  // not every server has a list
    try_model(names);
  }

 private:
  std::string told(const HttpAnswer& answer) const {
    const std::string words = cut_utf8(without_key(parse_refusal(answer.body).words, key_), 200);
    return " (HTTP " + std::to_string(answer.status) +
           (words.empty() ? "" : ": \"" + one_line(words) + "\"") + ")";
  }

  [[noreturn]] void throw_not_there(const HttpAnswer& answer) const {
    if (answer.is_untrusted)
      throw EnvironmentError(address_.base + ": its certificate is not trusted (" +
                             printable(answer.problem) +
                             "); endpoint.ca_file names a file with the authority's certificate");
    throw EnvironmentError(address_.base + ": no answer (" + without_key(printable(answer.problem), key_) +
                           "); start the server or correct the address");
  }

  [[noreturn]] void throw_key(const HttpAnswer& answer) const {
    throw EnvironmentError(address_.base + ": the key was refused" + told(answer) + "; it is read from " +
                           key_source(config_) + (key_.empty() ? ", which is not set" : ""));
  }

  void look_for_version() const {
    const EndpointAddress longer = endpoint_address(address_.base + "/v1");
    const HttpAnswer listed = http_request(config_, longer, longer.models, key_, nullptr, kPatience);
    if (listed.problem.empty() && listed.status != 404)
      throw EnvironmentError(address_.base + ": nothing at " + address_.models +
                             " (HTTP 404), but there is something at " + longer.models + ": use " +
                             longer.base);
  }

  // The smallest request there is: many servers take other names than they list, and some list models to
  // owners of other keys only.
  void try_model(const std::vector<std::string>& names) const {
    const std::vector<Message> messages{{"user", "Hello"}};
    RequestForm form(config_);
    for (int tries = 0; tries < 8; ++tries) {
      const Json sent = form.body({.messages = &messages, .max_tokens = 1});
      const std::string body = to_line(sent);
      const HttpAnswer answer =
          http_request(config_, address_, address_.chat, key_, &body, config_.timeout_seconds);
      if (!answer.problem.empty() || answer.status == 200 || answer.status == 429 || answer.status >= 500)
        return;  // judged when it is asked in earnest
      if (answer.status == 401 || answer.status == 403) throw_key(answer);
      if ((answer.status == 400 || answer.status == 422) &&
          !form.learn(parse_refusal(answer.body), sent).empty())
        continue;
      throw_unknown_model(names, answer);
    }
  }

  [[noreturn]] void throw_unknown_model(const std::vector<std::string>& names,
                                        const HttpAnswer& answer) const {
    std::string list;
    for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 5); ++i)
      list += (i ? ", " : "") + one_line(cut_utf8(names[i], 100));
    if (names.size() > 5) list += " and " + std::to_string(names.size() - 5) + " more";
    const std::string near = nearest(config_.model, names);
    throw EnvironmentError(address_.base + ": it does not answer for the model " + in_quotes(config_.model) +
                           told(answer) + (list.empty() ? "" : "; it has " + list) +
                           (near.empty() ? "" : "; did you mean " + in_quotes(near) + "?") +
                           "; --set endpoint.model=NAME chooses one");
  }

  const EndpointConfig& config_;
  const EndpointAddress& address_;
  std::string key_;
};

}  // namespace

void look_at_endpoint(const EndpointConfig& endpoint) {
  check_endpoint(endpoint);
  std::vector<std::string> there, missing;
  for (const EndpointAddress& address : endpoint_addresses(endpoint)) {
    try {
      Look(endpoint, address).take();
      there.push_back(address.base);
    } catch (const EnvironmentError& error) {
      missing.push_back(error.what());
    }
  }
  if (there.empty()) throw EnvironmentError(missing.front());
  for (const std::string& problem : missing)
    log_warning(problem + "; this server is left out");
}

}  // namespace cai
