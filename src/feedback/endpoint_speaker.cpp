#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <exception>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"
#include "cai/feedback/answer.hpp"
#include "cai/feedback/paid_answers.hpp"
#include "cai/feedback/speaker.hpp"
#include "cai/io/file.hpp"
#include "cai/io/json.hpp"

namespace cai {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLargestAnswer = 16 << 20, kLargestHeaders = 1 << 20;  // bytes; a chat answer is a few thousand
constexpr std::size_t kBytesPerToken = 32;                                   // of the longest text that so many tokens can be

Clock::duration seconds(double s) { return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s)); }

struct FreeEasy { void operator()(CURL* c) const { curl_easy_cleanup(c); } };
struct FreeMulti { void operator()(CURLM* m) const { curl_multi_cleanup(m); } };
struct FreeList { void operator()(curl_slist* l) const { curl_slist_free_all(l); } };

// One question on its way, over all its tries.
struct Job {
  std::size_t index = 0;
  std::string body, request;  // request: the hash of address and body
  int tries = 0;
  Clock::time_point not_before{};
  std::unique_ptr<CURL, FreeEasy> handle;
  std::string answer;
  std::size_t header_bytes = 0;
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
  Job& job = *static_cast<Job*>(user);
  job.header_bytes += size * count;
  if (job.header_bytes > kLargestHeaders) {  // a server could send headers for ever
    job.too_large = true;
    return 0;
  }
  const std::string line(data, size * count);
  if (lower_ascii(line.substr(0, 12)) == "retry-after:") job.retry_after = trim(line.substr(12));
  return size * count;
}

bool may_pass(long status) { return status == 408 || status == 425 || status == 429 || status >= 500; }

class EndpointSpeaker : public Speaker {
 public:
  EndpointSpeaker(const EndpointConfig& config, const std::filesystem::path& paid) : config_(config), url_(config.url), paid_(paid) {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (ready != CURLE_OK) throw EnvironmentError("libcurl does not start");
    check_endpoint(config);
    while (url_.ends_with('/')) url_.pop_back();
    if (!url_.ends_with("/chat/completions")) url_ += "/chat/completions";
    key_ = read_key();
    if (!key_.empty() && url_.starts_with("http://") && !is_this_machine())
      log_warning("endpoint: the key goes to " + config_.url + " unencrypted; https:// hides it");
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
    run(bodies, [&](std::size_t i, const ChatAnswer& answer) {
      Reply reply;
      reply.finish = answer.problem.empty() ? answer.finish : "error: " + answer.problem;
      if (answer.problem.empty()) {
        const std::string& opening = asks[i].opening;
        // Longer than so many tokens can be: the server went on where it was to stop.
        const std::size_t longest = opening.size() + kBytesPerToken * static_cast<std::size_t>(std::max(1, asks[i].max_new_tokens));
        std::string text = cut_utf8(answer.text, longest);
        if (text.size() < answer.text.size()) reply.finish = "length";
        if (!opening.empty() && !text.starts_with(opening)) {
          // A server that goes on from the opening sends the rest only; the space between words is often lost on the way.
          const bool glued = !text.empty() && std::isalnum(static_cast<unsigned char>(text.front())) && opening.back() != ' ' && opening.back() != '\n';
          text = opening + (glued ? " " : "") + text;
        }
        reply.text = trim(text);
      }
      reply.prompt_tokens = static_cast<int>(std::max<std::int64_t>(answer.prompt_tokens, 0));
      reply.tokens = static_cast<int>(std::max<std::int64_t>(answer.tokens, 0));
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
    run(bodies, [&](std::size_t i, const ChatAnswer& answer) {
      if (answer.problem.empty()) results[i] = option_log_probabilities(answer, choices[i].options);
    });
    return results;
  }

  std::vector<LogProbability> score(std::span<const Scored>) override {
    throw UsageError("an endpoint gives no log-probabilities of given answers; label.method contrast and eval need a local model");
  }

  Usage usage() const override { return usage_; }

 private:
  using Receive = std::function<void(std::size_t, const ChatAnswer&)>;

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

  // Sends all bodies that are not paid for yet, at most `concurrency` at once, and hands over each answer or what went wrong for good.
  // Whatever ends the call (a signal, a spent budget, a refused key) lets the requests under way land first: they are paid for.
  void run(const std::vector<std::string>& bodies, const Receive& receive) {
    std::deque<std::unique_ptr<Job>> waiting;
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      auto job = std::make_unique<Job>();
      job->index = i, job->body = bodies[i], job->request = sha256(url_ + "\n" + bodies[i]);
      if (const std::optional<ChatAnswer> known = paid_.find(job->request)) receive(i, *known);
      else waiting.push_back(std::move(job));
    }
    Flight flight{multi_.get(), {}};
    std::exception_ptr end;
    while ((!waiting.empty() && !end) || !flight.jobs.empty()) {
      if (!end && stop_requested()) end = std::make_exception_ptr(Stopped());
      const Clock::time_point now = Clock::now();
      for (auto it = waiting.begin(); !end && it != waiting.end() && static_cast<long>(flight.jobs.size()) < config_.concurrency && now >= paused_until_;) {
        if (const std::string spent = spent_budget(); !spent.empty()) {
          end = std::make_exception_ptr(Stopped(spent));
          break;
        }
        if ((*it)->not_before > now) {
          ++it;
          continue;
        }
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
        try {
          if (judge(*job, result, receive)) waiting.push_back(std::move(job));
        } catch (...) {
          if (!end) end = std::current_exception();
        }
      }
      if (!flight.jobs.empty() || (!waiting.empty() && !end)) curl_multi_poll(multi_.get(), nullptr, 0, flight.jobs.size() < static_cast<std::size_t>(config_.concurrency) ? until_next(waiting) : 50, nullptr);
    }
    if (end) std::rethrow_exception(end);
  }

  // Milliseconds until one that waits can be started, at most 50: a signal is heeded that soon.
  int until_next(const std::deque<std::unique_ptr<Job>>& waiting) const {
    Clock::time_point next = Clock::now() + std::chrono::milliseconds(50);
    for (const auto& job : waiting) next = std::min(next, std::max(job->not_before, paused_until_));
    return static_cast<int>(std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count()));
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
    job.answer.clear(), job.retry_after.clear(), job.too_large = false, job.header_bytes = 0, job.problem[0] = 0;
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
    if (!config_.ca_file.empty()) curl_easy_setopt(c, CURLOPT_CAINFO, config_.ca_file.c_str());
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
    const std::string where = config_.url + ": ";
    ChatAnswer answer;
    bool again = true;
    if (job.too_large) {
      answer.problem = "the answer is larger than " + std::to_string(kLargestAnswer >> 20) + " MB", again = false;
    } else if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE) {
      throw EnvironmentError(hidden(where + "its certificate is not trusted (" + job.problem + "); endpoint.ca_file names a file with the authority's certificate"));
    } else if (result != CURLE_OK) {
      answer.problem = job.problem[0] ? job.problem : curl_easy_strerror(result);
    } else if (status != 200) {
      const std::string words = cut_utf8(hidden(error_words(job.answer)), 200);
      answer.problem = "HTTP " + std::to_string(status) + (words.empty() ? "" : ": " + in_quotes(words));
      again = may_pass(status);
      if (status == 401 || status == 403)
        throw EnvironmentError(where + "the key was refused (" + answer.problem + "); it is read from " + key_source() + (key_.empty() ? ", which is not set" : ""));
      if (status == 402) throw EnvironmentError(where + "the account has no credit (" + answer.problem + "); what is done is kept, run the same command to go on");
      if (status == 404 || (status >= 300 && status < 400))
        throw EnvironmentError(where + "no chat endpoint there, or no model " + in_quotes(config_.model) + " (" + answer.problem + ")");
    } else {
      answer = parse_chat_answer(job.answer);
    }
    if (answer.problem.empty()) {
      answer.text = hidden(answer.text);
      for (auto& [token, log_probability] : answer.top) token = hidden(token);
      spend(job, answer);
      paid_.add(job.request, answer);
      ever_answered_ = true, failed_in_a_row_ = 0;
      receive(job.index, answer);
      return false;
    }
    answer.problem = hidden(printable(answer.problem));
    if (again && job.tries <= config_.retries) {
      // Full jitter, so that requests and programs that failed together do not come back together.
      Random jitter = Random(static_cast<std::uint64_t>(::getpid())).derive(job.index).derive(static_cast<std::uint64_t>(job.tries));
      const double longest = std::min(config_.longest_wait_seconds, config_.first_wait_seconds * std::pow(2.0, job.tries - 1));
      const double asked = retry_after_seconds(job.retry_after, config_.longest_wait_seconds);
      job.not_before = Clock::now() + seconds(asked + longest * jitter.uniform());
      if (asked > 0) paused_until_ = std::max(paused_until_, Clock::now() + seconds(asked));
      log_debug("endpoint: " + answer.problem + "; trying again");
      return true;
    }
    ++failed_in_a_row_;
    const long most = std::max(8L, 2 * config_.concurrency);
    if ((again && !ever_answered_) || failed_in_a_row_ >= most)
      throw EnvironmentError(where + "no answer after " + std::to_string(job.tries) + (job.tries == 1 ? " try: " : " tries: ") + answer.problem + "; what is done is kept, run the same command to go on");
    receive(job.index, answer);
    return false;
  }

  // Counts what an answer cost. A server that tells no tokens is taken to have used one for each three bytes, so that a budget holds.
  void spend(const Job& job, const ChatAnswer& answer) {
    usage_.prompt_tokens += answer.prompt_tokens >= 0 ? answer.prompt_tokens : static_cast<std::int64_t>(job.body.size() / 3);
    usage_.tokens += answer.tokens >= 0 ? answer.tokens : static_cast<std::int64_t>(answer.text.size() / 3 + 1);
  }

  // Which budget is spent and how to go on, or "".
  std::string spent_budget() const {
    const double tokens = static_cast<double>(usage_.prompt_tokens + usage_.tokens);
    const double cost = (config_.price_prompt * static_cast<double>(usage_.prompt_tokens) + config_.price_answer * static_cast<double>(usage_.tokens)) / 1e6;
    const double time = std::chrono::duration<double>(Clock::now() - begin_).count();
    const auto spent = [](const char* name, double used, double most) {
      char text[160];
      std::snprintf(text, sizeof text, "endpoint.%s: %.6g of %.6g are used; the same command goes on with a budget of the same size", name, used, most);
      return std::string(text);
    };
    if (config_.max_tokens_total > 0 && tokens >= static_cast<double>(config_.max_tokens_total)) return spent("max_tokens_total", tokens, static_cast<double>(config_.max_tokens_total));
    if (config_.max_cost > 0 && cost >= config_.max_cost) return spent("max_cost", cost, config_.max_cost);
    if (config_.max_seconds > 0 && time >= config_.max_seconds) return spent("max_seconds", time, config_.max_seconds);
    return "";
  }

  std::string key_source() const { return config_.key_file.empty() ? "the environment variable " + config_.key_variable : config_.key_file; }

  std::string read_key() const {
    std::string key;
    if (!config_.key_file.empty()) key = trim(read_file(config_.key_file));
    else if (const char* value = std::getenv(config_.key_variable.c_str())) key = trim(value);
    if (std::any_of(key.begin(), key.end(), [](unsigned char c) { return c < 0x21 || c > 0x7e; })) throw UsageError(key_source() + " holds characters that no key has");
    return key;
  }

  bool is_this_machine() const {
    const std::string host = url_.substr(7);
    return host.starts_with("localhost") || host.starts_with("127.") || host.starts_with("[::1]");
  }

  // A server may echo the key; it is never shown.
  std::string hidden(std::string text) const {
    if (key_.empty()) return text;
    for (std::size_t at = 0; (at = text.find(key_, at)) != text.npos; at += 5) text.replace(at, key_.size(), "[key]");
    return text;
  }

  EndpointConfig config_;
  std::string url_, key_, no_proxy_;
  PaidAnswers paid_;
  std::unique_ptr<curl_slist, FreeList> headers_;
  std::unique_ptr<CURLM, FreeMulti> multi_;
  Clock::time_point paused_until_{}, begin_ = Clock::now();
  bool ever_answered_ = false;
  long failed_in_a_row_ = 0;
  Usage usage_;
};

}  // namespace

void check_endpoint(const EndpointConfig& config) {
  // A password in the address would be written to config.yaml and shown in messages; it is not shown here either.
  if (config.url.find('@') != std::string::npos) throw UsageError("endpoint.url: holds a user name or password; the key comes from endpoint.key_variable or endpoint.key_file");
  if (config.url.find_first_of("?#") != std::string::npos) throw UsageError("endpoint.url: holds \"?\" or \"#\"; accepted: http://host:port/v1 or https://...");
  if (!config.url.starts_with("http://") && !config.url.starts_with("https://"))
    throw UsageError("endpoint.url: " + in_quotes(config.url) + "; accepted: http://host:port/v1 or https://...");
  for (const std::string& file : {config.key_file, config.ca_file})
    if (!file.empty() && !std::filesystem::is_regular_file(file)) throw UsageError("endpoint: no such file: " + file);
}

std::unique_ptr<Speaker> endpoint_speaker(const EndpointConfig& endpoint, const std::filesystem::path& paid) { return std::make_unique<EndpointSpeaker>(endpoint, paid); }

}  // namespace cai
