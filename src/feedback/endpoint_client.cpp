#include "cai/feedback/endpoint_client.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/stop.hpp"
#include "cai/base/text.hpp"

namespace cai {
namespace {

constexpr long kDropAfter = 3;  // failures in a row after which one of several servers is no longer asked

std::chrono::steady_clock::duration seconds(double s) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(s));
}

bool may_pass(long status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}

}  // namespace

// One question on its way, over all its tries.
struct EndpointClient::Job {
  std::size_t index = 0;
  const EndpointCall* call = nullptr;
  std::string name;  // what its answer is kept under
  Json sent;
  std::string body;
  int form_version = 0, tries = 0;
  Clock::time_point not_before{};
  Server *server = nullptr, *last_failed = nullptr;
  std::unique_ptr<HttpRequest> request;
};

// Requests under way; whatever ends the call takes them off the wire.
struct EndpointClient::Flight {
  CURLM* multi;
  std::vector<std::unique_ptr<Job>> jobs;
  ~Flight() {
    for (auto& job : jobs)
      curl_multi_remove_handle(multi, job->request->handle()), --job->server->in_flight;
  }
  std::unique_ptr<Job> land(CURL* handle) {
    const auto it = std::find_if(jobs.begin(), jobs.end(),
                                 [&](const auto& job) { return job->request->handle() == handle; });
    std::unique_ptr<Job> job = std::move(*it);
    jobs.erase(it);
    curl_multi_remove_handle(multi, handle);
    --job->server->in_flight;
    return job;
  }
};

EndpointClient::EndpointClient(const EndpointConfig& endpoint, const std::filesystem::path& paid)
    : config_(endpoint), key_(endpoint_key(endpoint)), form_(endpoint), first_form_(endpoint), paid_(paid) {
  start_curl();
  check_endpoint(endpoint);
  form_.recall(paid_.noted());
  noted_version_ = form_.version();
  for (EndpointAddress& address : endpoint_addresses(endpoint)) {
    if (!key_.empty() && !address.is_encrypted && !address.is_this_machine)
      log_warning("endpoint: the key goes to " + address.base + " unencrypted; https:// hides it");
    servers_.push_back({.address = std::move(address)});
  }
  multi_.reset(curl_multi_init());
  if (!multi_) throw EnvironmentError("libcurl does not start");
}

EndpointClient::~EndpointClient() = default;

std::deque<std::unique_ptr<EndpointClient::Job>> EndpointClient::unpaid(std::span<const EndpointCall> calls,
                                                                        const Receive& receive) {
  std::deque<std::unique_ptr<Job>> waiting;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    auto job = std::make_unique<Job>();
    job->index = i;
    job->call = &calls[i];
    job->name = sha256(servers_[0].address.chat + "\n" + to_line(first_form_.body(calls[i].question)) +
                       (calls[i].sample >= 0 ? "#" + std::to_string(calls[i].sample) : ""));
    const std::optional<ChatAnswer> known = calls[i].is_anew ? std::nullopt : paid_.find(job->name);
    if (known)
      receive(i, *known);
    else
      waiting.push_back(std::move(job));
  }
  return waiting;
}

void EndpointClient::run(std::span<const EndpointCall> calls, const Receive& receive) {
  std::deque<std::unique_ptr<Job>> waiting = unpaid(calls, receive);
  unanswered_ = 0;
  Flight flight{multi_.get(), {}};
  std::exception_ptr end;
  while ((!waiting.empty() && !end) || !flight.jobs.empty()) {
    if (!end && stop_requested()) end = std::make_exception_ptr(Stopped());
    start_some(waiting, flight, end);
    int running = 0;
    curl_multi_perform(multi_.get(), &running);
    land_some(waiting, flight, receive, end);
    const bool has_room = flight.jobs.size() < static_cast<std::size_t>(config_.concurrency);
    if (!flight.jobs.empty() || (!waiting.empty() && !end))
      curl_multi_poll(multi_.get(), nullptr, 0, has_room ? until_next(waiting) : 50, nullptr);
  }
  if (end) std::rethrow_exception(end);
  if (unanswered_ > 0 && config_.failed == "again")
    throw EnvironmentError(servers_[0].address.base + ": " + std::to_string(unanswered_) + " of " +
                           std::to_string(calls.size()) + " questions got no answer (" + last_problem_ +
                           "); what is done is kept, run the same command to ask them again "
                           "(endpoint.failed: skip leaves them out)");
}

void EndpointClient::start_some(std::deque<std::unique_ptr<Job>>& waiting, Flight& flight,
                                std::exception_ptr& end) {
  const Clock::time_point now = Clock::now();
  // The first answer tells what the server takes: until then one request at a time.
  const long most = ever_answered_ ? config_.concurrency : 1;
  for (auto it = waiting.begin();
       !end && it != waiting.end() && static_cast<long>(flight.jobs.size()) < most;) {
    if (const std::string spent = spent_budget(); !spent.empty()) {
      end = std::make_exception_ptr(Stopped(spent));
      return;
    }
    Server* server = (*it)->not_before > now ? nullptr : free_server(now, **it);
    if (!server) {
      ++it;
      continue;
    }
    start(**it, *server);
    flight.jobs.push_back(std::move(*it));
    it = waiting.erase(it);
  }
}

// The server with the fewest requests; where there is a choice, not the one that has just failed on this job.
EndpointClient::Server* EndpointClient::free_server(Clock::time_point now, const Job& job) {
  Server* best = nullptr;
  const auto rank = [&](const Server& s) { return std::pair(&s == job.last_failed, s.in_flight); };
  for (Server& server : servers_)
    if (!server.is_dropped && server.paused_until <= now && (!best || rank(server) < rank(*best)))
      best = &server;
  return best;
}

void EndpointClient::start(Job& job, Server& server) {
  ++job.tries;
  job.sent = form_.body(job.call->question);
  job.body = to_line(job.sent);
  job.form_version = form_.version();
  job.server = &server;
  job.request = std::make_unique<HttpRequest>(config_, server.address, server.address.chat, key_, &job.body);
  ++server.in_flight;
  curl_multi_add_handle(multi_.get(), job.request->handle());
}

void EndpointClient::land_some(std::deque<std::unique_ptr<Job>>& waiting, Flight& flight,
                               const Receive& receive, std::exception_ptr& end) {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode result = message->data.result;
    std::unique_ptr<Job> job = flight.land(message->easy_handle);
    try {
      HttpAnswer answer = job->request->answer(result);
      if (judge(*job, std::move(answer), receive)) waiting.push_back(std::move(job));
    } catch (...) {
      if (!end) end = std::current_exception();
    }
  }
}

// Takes in what came back. True: the job is to be tried again.
bool EndpointClient::judge(Job& job, HttpAnswer http, const Receive& receive) {
  ++usage_.requests;
  ChatAnswer answer;
  bool again = true;
  if (http.is_untrusted)
    throw EnvironmentError(hidden(where(job) + "its certificate is not trusted (" + http.problem +
                                  "); endpoint.ca_file names a file with the authority's certificate"));
  if (!http.problem.empty()) {
    answer.problem = http.problem;
    again = !http.is_too_large;
    answer.is_refused = http.is_too_large;
  } else if (http.status != 200) {
    again = may_pass(http.status);
    if (refused(job, http, answer)) return true;
  } else {
    answer = parse_chat_answer(http.body);
  }
  if (answer.problem.empty()) {
    accept(job, std::move(answer), receive);
    return false;
  }
  answer.problem = hidden(printable(answer.problem));
  if (again) note_failure(*job.server, answer.problem);
  job.last_failed = job.server;
  if (again && job.tries <= config_.retries) {
    wait_for_retry(job, http);
    log_debug("endpoint: " + answer.problem + "; trying again");
    return true;
  }
  give_up(job, answer.problem, again);
  receive(job.index, answer);
  return false;
}

// An HTTP status other than 200: throws where no request can get an answer; true where the form was changed
// and the job goes out anew.
bool EndpointClient::refused(Job& job, const HttpAnswer& http, ChatAnswer& kept) {
  const Refusal refusal = parse_refusal(http.body);
  const std::string words = cut_utf8(hidden(refusal.words), 200);
  kept.problem =
      "HTTP " + std::to_string(http.status) + (words.empty() ? "" : ": \"" + one_line(words) + "\"");
  const std::string told = "(" + kept.problem + ")";
  if (http.status == 401 || http.status == 403)
    throw EnvironmentError(where(job) + "the key was refused " + told + "; it is read from " +
                           key_source(config_) + (key_.empty() ? ", which is not set" : ""));
  if (http.status == 402)
    throw EnvironmentError(where(job) + "the account has no credit " + told +
                           "; what is done is kept, run the same command to go on");
  if (http.status == 404 || http.status == 405 || (http.status >= 300 && http.status < 400))
    throw EnvironmentError(where(job) + "no chat endpoint at " + job.server->address.chat + ", or no model " +
                           in_quotes(config_.model) + " " + told +
                           (job.server->address.has_version ? ""
                                                            : "; most servers' addresses end in /v1: try " +
                                                                  job.server->address.base + "/v1"));
  if (may_pass(http.status)) return false;
  kept.is_refused = true;
  if (http.status != 400 && http.status != 422) return false;
  if (job.form_version != form_.version()) return --job.tries, true;
  const std::string done = form_.learn(refusal, job.sent);
  if (done.empty()) return false;
  log_warning("endpoint: the server refuses a request " + told + "; from now on " + done);
  return --job.tries, true;
}

void EndpointClient::accept(Job& job, ChatAnswer answer, const Receive& receive) {
  answer.text = hidden(answer.text);
  answer.reasoning = hidden(answer.reasoning);
  for (AnswerToken& place : answer.tokens_shown) {
    place.token = hidden(place.token);
    for (auto& [token, log_probability] : place.top)
      token = hidden(token);
  }
  spend(job, answer);
  if (form_.version() != noted_version_) paid_.note(form_.learned());
  noted_version_ = form_.version();
  paid_.add(job.name, answer);
  ever_answered_ = true;
  failed_in_a_row_ = 0;
  job.server->failed_in_a_row = 0;
  receive(job.index, answer);
}

void EndpointClient::wait_for_retry(Job& job, const HttpAnswer& http) {
  // Full jitter, so that requests and programs that failed together do not come back together.
  Random jitter = Random(static_cast<std::uint64_t>(::getpid()))
                      .derive(job.index)
                      .derive(static_cast<std::uint64_t>(job.tries));
  const double longest =
      std::min(config_.longest_wait_seconds, config_.first_wait_seconds * std::pow(2.0, job.tries - 1));
  const double asked = retry_after_seconds(http.retry_after, config_.longest_wait_seconds);
  job.not_before = Clock::now() + seconds(asked + longest * jitter.uniform());
  if (asked > 0) job.server->paused_until = std::max(job.server->paused_until, Clock::now() + seconds(asked));
}

void EndpointClient::note_failure(Server& server, const std::string& problem) {
  ++server.failed_in_a_row;
  const long others = std::count_if(servers_.begin(), servers_.end(),
                                    [&](const Server& s) { return &s != &server && !s.is_dropped; });
  if (server.is_dropped || others == 0 || server.failed_in_a_row < kDropAfter) return;
  server.is_dropped = true;
  log_warning("endpoint: " + server.address.base + " is not asked any more (" + problem + "); " +
              std::to_string(others) + (others == 1 ? " server is" : " servers are") + " left");
}

void EndpointClient::give_up(const Job& job, const std::string& problem, bool passes) {
  ++failed_in_a_row_;
  last_problem_ = problem;
  if (passes)
    ++unanswered_;
  else if (ever_answered_ && ++refused_ == 1)
    log_warning("endpoint: a question is refused and left out: " + problem + " (told once)");
  const long most = std::max(8L, 2 * config_.concurrency);
  if ((passes && !ever_answered_) || failed_in_a_row_ >= most)
    throw EnvironmentError(where(job) + "no answer after " + std::to_string(job.tries) +
                           (job.tries == 1 ? " try: " : " tries: ") + problem +
                           "; what is done is kept, run the same command to go on");
}

// Milliseconds until one that waits can be started, at most 50: a signal is heeded that soon.
int EndpointClient::until_next(const std::deque<std::unique_ptr<Job>>& waiting) const {
  Clock::time_point next = Clock::now() + std::chrono::milliseconds(50), free = Clock::time_point::max();
  for (const Server& server : servers_)
    if (!server.is_dropped) free = std::min(free, server.paused_until);
  for (const auto& job : waiting)
    next = std::min(next, std::max(job->not_before, free));
  return static_cast<int>(std::max<std::int64_t>(
      1, std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count()));
}

// Counts what an answer cost. A server that tells no tokens is taken to have used one for each three bytes,
// so that a budget holds.
void EndpointClient::spend(const Job& job, const ChatAnswer& answer) {
  const std::size_t said = answer.text.size() + answer.reasoning.size();
  usage_.prompt_tokens +=
      answer.prompt_tokens >= 0 ? answer.prompt_tokens : static_cast<std::int64_t>(job.body.size() / 3);
  usage_.tokens += answer.tokens >= 0 ? answer.tokens : static_cast<std::int64_t>(said / 3 + 1);
}

// Which budget is spent and how to go on, or "".
std::string EndpointClient::spent_budget() const {
  const double tokens = static_cast<double>(usage_.prompt_tokens + usage_.tokens),
               most_tokens = static_cast<double>(config_.max_tokens_total);
  const double cost = (config_.price_prompt * static_cast<double>(usage_.prompt_tokens) +
                       config_.price_answer * static_cast<double>(usage_.tokens)) /
                      1e6;
  const double time = std::chrono::duration<double>(Clock::now() - begin_).count();
  const auto spent = [](const char* name, double used, double most) {
    char text[160];
    std::snprintf(text, sizeof text,
                  "endpoint.%s: budget exhausted (%.6g of %.6g); the next call gets a fresh one", name, used,
                  most);
    return std::string(text);
  };
  if (most_tokens > 0 && tokens >= most_tokens) return spent("max_tokens_total", tokens, most_tokens);
  if (config_.max_cost > 0 && cost >= config_.max_cost) return spent("max_cost", cost, config_.max_cost);
  if (config_.max_seconds > 0 && time >= config_.max_seconds)
    return spent("max_seconds", time, config_.max_seconds);
  return "";
}

void EndpointClient::need_an_answer() const {
  if (!ever_answered_ && failed_in_a_row_ > 0)
    throw EnvironmentError(servers_[0].address.base + ": no question was answered: " + last_problem_);
}

std::string EndpointClient::where(const Job& job) const {
  return job.server->address.base + ": ";
}

}  // namespace cai
