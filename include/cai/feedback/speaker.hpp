// A model one can talk to: the policy, another checkpoint, or an OpenAI-compatible endpoint. Text in, text
// out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/config/config.hpp"
#include "cai/text/chat.hpp"

namespace cai {

struct Ask {
  std::vector<Message> messages;
  std::string opening;  // first words of the answer, put in its mouth; part of Reply::text
  int max_new_tokens = 256;
  double temperature = 1.0;
  double top_p = 1.0;
  Random random;
  bool to_initial = false;  // for ask_records(), where it has a second speaker: this one is for that
};

struct Reply {
  std::string text;    // what a person reads: no control tokens
  std::string finish;  // "stop", "length", "context"; an endpoint's failure: "error: ..."
  int prompt_tokens = 0, tokens = 0;
};

struct Scored {
  std::vector<Message> messages;  // none: the answer is plain text without a chat template; its first token
                                  // is given where the model has no bos
  std::string opening;            // text before the scored part, in the answer
  std::string answer;             // the scored part
  bool with_stop = true;          // also score the end of the answer
};

struct LogProbability {
  double sum = 0;  // natural log, over the answer's tokens
  int tokens = 0;
};

struct Choice {
  std::vector<Message> messages;
  std::string opening;               // e.g. "Better answer:"
  std::vector<std::string> options;  // e.g. {" A", " B"}: each must be one token after the opening
};

/// What a model made of a Choice.
struct Chosen {
  std::vector<double> log_probabilities;  // of the options; empty: no answer
  double mass = 0;                        // probability of all options together
  std::string problem;                    // why there is no answer, or ""
  long samples = 0;  // replies that the options were counted in; 0: probabilities of the next token
};

struct Usage {
  std::int64_t requests = 0, prompt_tokens = 0, tokens = 0;
};

class Speaker {
 public:
  virtual ~Speaker() = default;

  /// Calls done(index, reply) once for each ask, in order of completion, from this thread. Throws Stopped
  /// when asked to stop.
  virtual void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) = 0;

  /// Log-probabilities of the options as the next token, one vector a choice (normalised over the whole
  /// vocabulary; an endpoint that gives only its top ones yields -infinity for the rest). An empty vector
  /// where there is no answer: the question exceeds the model's context, or an endpoint failed on it. Throws
  /// InputError when an option is not one token of this model after the opening.
  virtual std::vector<std::vector<double>> choose(std::span<const Choice> choices) = 0;

  /// The same with what stands behind it. `decided` is called once for each choice as it is answered.
  virtual std::vector<Chosen> decide(std::span<const Choice> choices, const std::function<void()>& decided);

  /// Whether answers survive the end of the program by themselves: then many may be asked for at once.
  virtual bool keeps_answers() const { return false; }

  /// Log-probability of given answers; `tokens` is 0 where one exceeds the model's context. Throws UsageError
  /// on a speaker that cannot (an endpoint).
  virtual std::vector<LogProbability> score(std::span<const Scored> scored) = 0;

  virtual Usage usage() const = 0;
};

/// A checkpoint or GGUF on this machine. `path` as for load_llama and load_tokenizer.
std::unique_ptr<Speaker> local_speaker(const std::filesystem::path& path, const EngineConfig& engine);

/// An OpenAI-compatible chat endpoint ("http://host:port/v1"), or several servers of one model: requests go
/// to the one with the fewest, and one that keeps failing is left out. The key is read from the file or the
/// environment variable that the config names; it is sent and nothing else: where a server echoes it, "[key]"
/// stands. Failures that may pass (no connection, 408, 425, 429, 5xx, half or malformed answers) are tried
/// again with growing, jittered waits, Retry-After heeded; a refused key, address, model or certificate, or a
/// server that gives no answer at all, throws EnvironmentError. A spent budget throws Stopped once the
/// requests under way have landed. Answers are kept in the file `paid` as they come (paid_answers.hpp): none
/// is asked for again by the same program started anew. Budgets are those of one speaker. What a server
/// refuses (HTTP 400, 422) is learned from once and said once (request_form.hpp); docs/reference/endpoints.md
/// says what is done then.
std::unique_ptr<Speaker> endpoint_speaker(const EndpointConfig& endpoint, const std::filesystem::path& paid);

/// Throws UsageError for an address, key file or authority file that cannot be used. Opens no connection.
void check_endpoint(const EndpointConfig& endpoint);

/// Asks each server for its list of models, and where that does not tell enough for one token. Throws
/// EnvironmentError in one line where none can be used: no server there, the key is missing or refused, no
/// such model.
void look_at_endpoint(const EndpointConfig& endpoint);

/// Whether a setting names an endpoint: an address that begins with http:// or https://.
bool is_endpoint(const std::string& judge);

}  // namespace cai
