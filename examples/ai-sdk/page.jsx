import { useChat } from "@ai-sdk/react"
import { DefaultChatTransport } from "ai"
import { useEffect, useState } from "react"
import { createRoot } from "react-dom/client"

// The id of the chat is part of the address. The messages of ended answers are kept by the page; a real
// one would have them in its database.
const id = (location.hash ||= `#${crypto.randomUUID()}`).slice(1)
const kept = JSON.parse(localStorage.getItem(id) ?? "[]")
const states = { submitted: "waiting for the answer", streaming: "the answer is being made", ready: "ready", error: "the server did not answer" }

function Chat() {
  const [question, setQuestion] = useState("")
  const { messages, sendMessage, status, error, resumeStream, regenerate } = useChat({
    id, messages: kept, resume: true, transport: new DefaultChatTransport({ api: "/api/chat" }),
  })
  const busy = status === "submitted" || status === "streaming"
  // Nothing of an answer came, such as when the page was left before the server had the question.
  const unanswered = !busy && messages.at(-1)?.role === "user"
  useEffect(() => {
    if (messages.at(-1)?.role === "user" || status === "ready") localStorage.setItem(id, JSON.stringify(messages))
  }, [messages, status])
  const ask = (event) => {
    event.preventDefault()
    if (!question.trim() || busy) return
    sendMessage({ text: question })
    setQuestion("")
  }
  return (
    <>
      <ol aria-label="Messages">
        {messages.map(({ id, role, parts }) => (
          <li key={id} className={role}>
            <b>{role === "user" ? "You" : "Answer"}</b>
            {parts.map((part) => (part.type === "text" ? part.text : "")).join("")}
          </li>
        ))}
      </ol>
      <form onSubmit={ask}>
        <input aria-label="Question" placeholder="Ask anything" value={question} onChange={(event) => setQuestion(event.target.value)} />
        <button disabled={busy || !question.trim()}>Ask</button>
        <button type="button" disabled={!busy} onClick={() => fetch(`/api/chat/${id}/stop`, { method: "POST" })}>Stop</button>
      </form>
      <p id="state" role="status" className={error ? "error" : ""}>
        {unanswered && !error ? "this question has no answer" : states[status]}
        {error && <button type="button" onClick={() => resumeStream()}>Resume</button>}
        {unanswered && <button type="button" onClick={() => regenerate()}>Ask again</button>}
      </p>
    </>
  )
}

createRoot(document.getElementById("root")).render(<Chat />)
