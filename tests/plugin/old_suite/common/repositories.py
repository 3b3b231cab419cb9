"""A repository on a session."""

from models import Workflow
from sqlalchemy import func, select


class BaseRepository:
    model: type

    def __init__(self, session):
        self.session = session

    async def add(self, **values):
        entity = self.model(**values)
        self.session.add(entity)
        await self.session.flush()
        return entity

    async def get(self, key):
        return await self.session.get(self.model, key)

    async def count(self, *criteria):
        return await self.session.scalar(select(func.count()).select_from(self.model).where(*criteria))

    async def delete(self, entity):
        await self.session.delete(entity)
        await self.session.flush()


class WorkflowRepository(BaseRepository):
    model = Workflow

    async def with_status(self, name, status):
        found = await self.session.scalars(
            select(Workflow).where(Workflow.name == name, Workflow.status == status).order_by(Workflow.priority)
        )
        return list(found)

    async def publish(self, workflow):
        workflow.status = "published"
        await self.session.flush()
