#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <limits>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLargestAnswer = 16 << 20;  // bytes; a chat answer is a few thousand
constexpr double kFirstWait = 0.5, kLongestWait = 30, kLongestRetryAfter = 300;  // seconds

Clock::duration seconds(double s) { return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s)); }

// Control tokens that some servers leave in the text.
std::string without_control_tokens(std::string text) {
  for (const char* name : {"<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<s>", "</s>"}) {
    for (std::size_t at; (at = text.find(name)) != text.npos;) text.erase(at, std::char_traits<char>::length(name));
  }
  return text;
}

struct FreeEasy { void operator()(CURL* c) const { curl_easy_cleanup(c); } };
struct FreeMulti { void operator()(CURLM* m) const { curl_multi_cleanup(m); } };
struct FreeList { void operator()(curl_slist* l) const { curl_slist_free_all(l); } };

// One question on its way, over all its tries.
struct Job {
  std::size_t index = 0;
  std::string body;
  int tries = 0;
  Clock::time_point not_before{};
  std::unique_ptr<CURL, FreeEasy> handle;
  std::string answer;
  bool too_large = false;
  std::string retry_after;
  char problem[CURL_ERROR_SIZE] = {};
};

std::size_t take_body(char* data, std::size_t size, std::size_t count, void* user) {
  Job& job = *static_cast<Job*>(user);
  if (job.answer.size() + size * count > kLargestAnswer) {
    job.too_large = true;
    return 0;
  }
  job.answer.append(data, size * count);
  return size * count;
}

std::size_t take_header(char* data, std::size_t size, std::size_t count, void* user) {
  const std::string line(data, size * count);
  if (lower_ascii(line.substr(0, 12)) == "retry-after:") static_cast<Job*>(user)->retry_after = trim(line.substr(12));
  return size * count;
}

// Seconds that a Retry-After header asks for (a number or an HTTP date); 0 when there is none that can be read.
double retry_after_seconds(const std::string& header) {
  if (header.empty()) return 0;
  if (header.find_first_not_of("0123456789.") == header.npos && header.size() < 12) return std::min(std::atof(header.c_str()), kLongestRetryAfter);
  const std::time_t date = curl_getdate(header.c_str(), nullptr);
  return date < 0 ? 0 : std::clamp(std::difftime(date, std::time(nullptr)), 0.0, kLongestRetryAfter);
}

bool may_pass(long status) { return status == 408 || status == 425 || status == 429 || status >= 500; }

class EndpointSpeaker : public Speaker {
 public:
  explicit EndpointSpeaker(const EndpointConfig& config) : config_(config), url_(config.url) {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (ready != CURLE_OK) throw EnvironmentError("libcurl does not start");
    if (!url_.starts_with("http://") && !url_.starts_with("https://"))
      throw UsageError("endpoint.url: \"" + printable(url_) + "\"; accepted: http://host:port/v1 or https://...");
    while (url_.ends_with('/')) url_.pop_back();
    if (!url_.ends_with("/chat/completions")) url_ += "/chat/completions";
    if (const char* key = std::getenv(config.key_variable.c_str())) key_ = trim(key);
    if (std::any_of(key_.begin(), key_.end(), [](unsigned char c) { return c < 0x21 || c > 0x7e; }))
      throw UsageError("the environment variable " + config.key_variable + " holds characters that no key has");
    multi_.reset(curl_multi_init());
    if (!multi_) throw EnvironmentError("libcurl does not start");
  }

  void say(std::span<const Ask> asks, const std::function<void(std::size_t, Reply)>& done) override {
    std::vector<std::string> bodies;
    for (const Ask& ask : asks) {
      Json body = question(ask.messages, ask.opening);
      body["max_tokens"] = ask.max_new_tokens;
      body["temperature"] = ask.temperature;
      body["top_p"] = ask.top_p;
      body["seed"] = Random(ask.random).next() & 0x7fffffff;
      bodies.push_back(to_line(body));
    }
    run(bodies, [&](std::size_t i, const Json& choice, const std::string& problem) {
      Reply reply;
      if (!problem.empty()) {
        reply.finish = "error: " + problem;
      } else {
        const Json& message = choice.at("message");
        std::string text = message.contains("content") && message["content"].is_string() ? message["content"].get<std::string>() : "";
        text = without_control_tokens(text);
        const std::string& opening = asks[i].opening;
        if (!opening.empty() && !text.starts_with(opening)) {
          // A server that goes on from the opening sends the rest only; the space between words is often lost on the way.
          const bool glued = !text.empty() && std::isalnum(static_cast<unsigned char>(text.front())) && opening.back() != ' ' && opening.back() != '\n';
          text = opening + (glued ? " " : "") + text;
        }
        reply.text = trim(text);
        reply.finish = choice.contains("finish_reason") && choice["finish_reason"].is_string() ? choice["finish_reason"].get<std::string>() : "stop";
      }
      reply.prompt_tokens = static_cast<int>(last_.prompt_tokens);
      reply.tokens = static_cast<int>(last_.tokens);
      done(i, std::move(reply));
    });
  }

  std::vector<std::vector<double>> choose(std::span<const Choice> choices) override {
    std::vector<std::string> bodies;
    for (const Choice& choice : choices) {
      Json body = question(choice.messages, choice.opening);
      body["max_tokens"] = 1;
      body["temperature"] = 0;
      body["logprobs"] = true;
      body["top_logprobs"] = 20;
      bodies.push_back(to_line(body));
    }
    std::vector<std::vector<double>> results(choices.size());
    run(bodies, [&](std::size_t i, const Json& choice, const std::string& problem) {
      if (problem.empty()) results[i] = option_log_probabilities(choice, choices[i].options);
    });
    return results;
  }

  std::vector<LogProbability> score(std::span<const Scored>) override {
    throw UsageError("an endpoint gives no log-probabilities of given answers; label.method contrast and eval need a local model");
  }

  std::string fingerprint() const override { return sha256(url_ + "\n" + config_.model); }
  Usage usage() const override { return usage_; }

 private:
  using Receive = std::function<void(std::size_t, const Json& choice, const std::string& problem)>;

  Json question(const std::vector<Message>& messages, const std::string& opening) const {
    Json list = Json::array();
    for (const Message& m : messages) list.push_back({{"role", m.role}, {"content", to_utf8(m.content)}});
    Json body = {{"model", config_.model}, {"stream", false}, {"n", 1}};
    if (!opening.empty()) {
      list.push_back({{"role", "assistant"}, {"content", opening}});
      body["add_generation_prompt"] = false;
      body["continue_final_message"] = true;
    }
    body["messages"] = std::move(list);
    return body;
  }

  // Sum of the probabilities of those top tokens that spell an option, with or without a space before it.
  static std::vector<double> option_log_probabilities(const Json& choice, const std::vector<std::string>& options) {
    std::vector<double> p(options.size(), 0.0);
    const auto count = [&](const std::string& token, double log_probability) {
      for (std::size_t k = 0; k < options.size(); ++k)
        if (trim(token) == trim(options[k])) p[k] += std::exp(std::min(0.0, log_probability));
    };
    if (!choice.contains("logprobs") || !choice["logprobs"].is_object()) return {};
    const Json& found = choice["logprobs"];
    if (found.contains("content") && found["content"].is_array() && !found["content"].empty() && found["content"][0].is_object()) {
      const Json& first = found["content"][0];
      if (first.contains("top_logprobs") && first["top_logprobs"].is_array())
        for (const Json& one : first["top_logprobs"])
          if (one.is_object() && one.contains("token") && one["token"].is_string() && one.contains("logprob") && one["logprob"].is_number())
            count(one["token"].get<std::string>(), one["logprob"].get<double>());
    } else if (found.contains("top_logprobs") && found["top_logprobs"].is_array() && !found["top_logprobs"].empty() && found["top_logprobs"][0].is_object()) {
      for (const auto& [token, value] : found["top_logprobs"][0].items())  // the older form: {token: log-probability}
        if (value.is_number()) count(token, value.get<double>());
    } else {
      return {};
    }
    std::vector<double> logs;
    for (double x : p) logs.push_back(x > 0 ? std::log(x) : -std::numeric_limits<double>::infinity());
    return logs;
  }

  // Sends all bodies, at most `concurrency` at once, and hands over each answer's first choice or what went wrong for good.
  void run(const std::vector<std::string>& bodies, const Receive& receive) {
    std::deque<std::unique_ptr<Job>> waiting;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      waiting.push_back(std::make_unique<Job>());
      waiting.back()->index = i, waiting.back()->body = bodies[i];
    }
    Flight flight{multi_.get(), {}};
    while (!waiting.empty() || !flight.jobs.empty()) {
      if (stop_requested()) throw Stopped();
      const Clock::time_point now = Clock::now();
      for (auto it = waiting.begin(); it != waiting.end() && static_cast<long>(flight.jobs.size()) < config_.concurrency && now >= paused_until_;) {
        if ((*it)->not_before > now) {
          ++it;
          continue;
        }
        check_budget();
        start(**it);
        flight.jobs.push_back(std::move(*it));
        it = waiting.erase(it);
      }
      int running = 0, left = 0;
      curl_multi_perform(multi_.get(), &running);
      while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        const CURLcode result = message->data.result;
        std::unique_ptr<Job> job = flight.land(message->easy_handle);
        if (judge(*job, result, receive)) waiting.push_back(std::move(job));
      }
      curl_multi_poll(multi_.get(), nullptr, 0, 50, nullptr);
    }
  }

  // Requests under way; whatever ends the call takes them off the wire.
  struct Flight {
    CURLM* multi;
    std::vector<std::unique_ptr<Job>> jobs;
    ~Flight() {
      for (auto& job : jobs) curl_multi_remove_handle(multi, job->handle.get());
    }
    std::unique_ptr<Job> land(CURL* handle) {
      const auto it = std::find_if(jobs.begin(), jobs.end(), [&](const auto& job) { return job->handle.get() == handle; });
      std::unique_ptr<Job> job = std::move(*it);
      jobs.erase(it);
      curl_multi_remove_handle(multi, handle);
      return job;
    }
  };

  void start(Job& job) {
    ++job.tries;
    job.answer.clear(), job.retry_after.clear(), job.too_large = false, job.problem[0] = 0;
    if (!headers_) {
      headers_.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
      if (!key_.empty()) curl_slist_append(headers_.get(), ("Authorization: Bearer " + key_).c_str());
      const char* direct = std::getenv("no_proxy");
      no_proxy_ = std::string(direct ? direct : "") + (direct ? "," : "") + "localhost,127.0.0.1,::1";
    }
    job.handle.reset(curl_easy_init());
    CURL* c = job.handle.get();
    if (!c) throw EnvironmentError("libcurl does not start");
    curl_easy_setopt(c, CURLOPT_URL, url_.c_str());
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOPROXY, no_proxy_.c_str());
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers_.get());
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, job.body.c_str());
    curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(job.body.size()));
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, static_cast<long>(1000 * config_.timeout_seconds));
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &job);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, &job);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, job.problem);
    curl_multi_add_handle(multi_.get(), c);
  }

  // Takes in what came back. True: the job is to be tried again.
  bool judge(Job& job, CURLcode result, const Receive& receive) {
    long status = 0;
    curl_easy_getinfo(job.handle.get(), CURLINFO_RESPONSE_CODE, &status);
    job.handle.reset();
    ++usage_.requests;
    last_ = {};
    std::string problem;
    bool again = true;
    if (job.too_large) {
      problem = "the answer is larger than " + std::to_string(kLargestAnswer >> 20) + " MB", again = false;
    } else if (result != CURLE_OK) {
      problem = job.problem[0] ? job.problem : curl_easy_strerror(result);
    } else if (status != 200) {
      problem = "HTTP " + std::to_string(status) + said(job.answer);
      again = may_pass(status);
      if (status == 401 || status == 403)
        throw EnvironmentError(safe(config_.url + ": the key was refused (" + problem + "); it is read from the environment variable " + config_.key_variable + (key_.empty() ? ", which is not set" : "")));
      if (status == 404 || (status >= 300 && status < 400)) throw EnvironmentError(safe(config_.url + ": no chat endpoint there (" + problem + ")"));
    } else if (const std::optional<Json> choice = first_choice(job.answer, problem)) {
      ever_answered_ = true, failed_in_a_row_ = 0;
      receive(job.index, *choice, "");
      return false;
    }
    problem = safe(printable(problem));
    if (again && job.tries <= config_.retries) {
      // Full jitter, so that requests that failed together do not come back together.
      Random jitter = Random(0x656e64).derive(job.index).derive(static_cast<std::uint64_t>(job.tries));
      const double longest = std::min(kLongestWait, kFirstWait * std::pow(2.0, job.tries - 1));
      const double asked = retry_after_seconds(job.retry_after);
      job.not_before = Clock::now() + seconds(asked + longest * jitter.uniform());
      if (asked > 0) paused_until_ = std::max(paused_until_, Clock::now() + seconds(asked));
      log_debug("endpoint: " + problem + "; trying again");
      return true;
    }
    ++failed_in_a_row_;
    if (again && (!ever_answered_ || failed_in_a_row_ >= std::max(8L, 2 * config_.concurrency)))
      throw EnvironmentError(safe(config_.url) + ": no answer after " + std::to_string(job.tries) + " tries: " + problem + "; what is done is kept, run the same command to go on");
    receive(job.index, Json(), problem);
    return false;
  }

  // The first choice of a whole, well-formed answer; else nothing, with the reason.
  std::optional<Json> first_choice(const std::string& body, std::string& problem) {
    Json answer;
    try {
      answer = parse_json(body, "answer");
    } catch (const Error& e) {
      problem = std::string("malformed answer: ") + e.what();
      return std::nullopt;
    }
    const bool usable = answer.is_object() && answer.contains("choices") && answer["choices"].is_array() && !answer["choices"].empty() &&
                        answer["choices"][0].is_object() && answer["choices"][0].contains("message") && answer["choices"][0]["message"].is_object();
    if (!usable) {
      problem = "malformed answer: no choices[0].message";
      return std::nullopt;
    }
    if (answer.contains("usage") && answer["usage"].is_object()) {
      const auto number = [&](const char* name) {
        const Json& u = answer["usage"];
        return u.contains(name) && u[name].is_number() ? static_cast<std::int64_t>(std::clamp(u[name].get<double>(), 0.0, 1e9)) : std::int64_t{0};
      };
      last_.prompt_tokens = number("prompt_tokens"), last_.tokens = number("completion_tokens");
      usage_.prompt_tokens += last_.prompt_tokens, usage_.tokens += last_.tokens;
    }
    return answer["choices"][0];
  }

  void check_budget() const {
    const std::int64_t used = usage_.prompt_tokens + usage_.tokens;
    if (config_.max_tokens_total > 0 && used >= config_.max_tokens_total)
      throw EnvironmentError("endpoint.max_tokens_total: " + std::to_string(used) + " of " + std::to_string(config_.max_tokens_total) +
                             " tokens are used; what is done is kept, raise it to go on");
  }

  // What a server says about an error, in a few words.
  static std::string said(const std::string& body) {
    try {
      const Json answer = parse_json(body, "answer");
      const Json* error = answer.is_object() && answer.contains("error") ? &answer["error"] : nullptr;
      if (error && error->is_object() && error->contains("message")) error = &(*error)["message"];
      if (error && error->is_string()) return ": " + error->get<std::string>().substr(0, 200);
    } catch (const Error&) {
    }
    return "";
  }

  // A server may echo the key; it is never shown.
  std::string safe(std::string text) const {
    if (key_.empty()) return text;
    for (std::size_t at = 0; (at = text.find(key_, at)) != text.npos; at += 5) text.replace(at, key_.size(), "[key]");
    return text;
  }

  EndpointConfig config_;
  std::string url_, key_, no_proxy_;
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::unique_ptr<CURLM, FreeMulti> multi_;
  Clock::time_point paused_until_{};
  bool ever_answered_ = false;
  long failed_in_a_row_ = 0;
  Usage usage_, last_;
};

}  // namespace

std::unique_ptr<Speaker> endpoint_speaker(const EndpointConfig& endpoint) { return std::make_unique<EndpointSpeaker>(endpoint); }

}  // namespace cai
