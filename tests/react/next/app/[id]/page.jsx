import Link from "next/link";
import Post from "../post";

export default async function Page({ params }) {
  const { id } = await params;
  return (
    <>
      <Post post={{ id }} />
      <Link href={id === "first" ? "/second" : "/first"}>On</Link>
    </>
  );
}
